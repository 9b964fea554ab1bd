"""Signatures of Standard Webhooks, by which a receiver verifies the sender, the content and the time of a call.

A key is shared with the receiver (`whsec_`, HMAC-SHA256, `v1`), or a private one of which the receiver has the public
part only (`whsk_` and `whpk_`, Ed25519, `v1a`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...deliveries import Key
from ...errors import SecretError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SHARED, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
_SHORTEST, _LONGEST, _MADE = 24, 64, 32
_SEED, _PAIR = 32, 64
"""Octets of a private key: its seed, and the public key after it where libraries write both."""


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A key that the receiver has too."""

    octets: bytes = field(repr=False)

    def sign(self, signed: bytes) -> str:
        """Return the signature of *signed*."""
        return f"v1,{_text(hmac.new(self.octets, signed, hashlib.sha256).digest())}"


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that nobody else has; the receiver has the public part."""

    pair: Ed25519PrivateKey = field(repr=False)

    def sign(self, signed: bytes) -> str:
        """Return the signature of *signed*."""
        return f"v1a,{_text(self.pair.sign(signed))}"

    @property
    def public(self) -> str:
        """The public part, to give to the receiver."""
        return f"{PUBLIC}{_text(self.pair.public_key().public_bytes_raw())}"


SigningKey = SharedKey | PrivateKey


def key(secret: str, reference: str) -> SigningKey:
    """Return the key in *secret*; raises SecretError, which names only its *reference*."""
    if secret.startswith(PRIVATE):
        return _private(_octets(secret, PRIVATE, f"secret {reference}: must be {PRIVATE} and 32 octets in base64"))
    wrong = f"secret {reference}: must be {SHARED} followed by {_SHORTEST} to {_LONGEST} octets in base64"
    octets = _octets(secret, SHARED, wrong)
    if not secret.startswith(SHARED) or not _SHORTEST <= len(octets) <= _LONGEST:
        raise SecretError(wrong)
    return SharedKey(octets)


def new_secret(*, is_private: bool) -> str:
    """Return a new key as text: a private one, or one to share with the receiver."""
    octets = secrets.token_bytes(_SEED if is_private else _MADE)
    return f"{PRIVATE if is_private else SHARED}{_text(octets)}"


def message_id(delivery: Key) -> str:
    """Return the `webhook-id` of *delivery*, which is the same for each attempt and unique to the delivery.

    >>> message_id(Key("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "to-tickets", ""))
    '01KAG2V0M3Y8ZT6Q4XJ5W9E7RB_to-tickets'
    """
    # A dot separates id, time and body in the signed text.
    return "_".join(each for each in delivery if each).replace(".", "-")


def sign(keys: Iterable[SigningKey], message: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of *body*, with one signature per key, so that keys can be rotated."""
    signed = f"{message}.{timestamp}.".encode() + body
    return " ".join(each.sign(signed) for each in keys)


def _private(octets: bytes) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - few need it

    return PrivateKey(Ed25519PrivateKey.from_private_bytes(octets))


def _octets(secret: str, prefix: str, wrong: str) -> bytes:
    try:
        octets = base64.b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise SecretError(wrong) from None
    if prefix != PRIVATE:
        return octets
    if len(octets) == _PAIR and _private(octets[:_SEED]).pair.public_key().public_bytes_raw() == octets[_SEED:]:
        return octets[:_SEED]
    if len(octets) != _SEED:
        raise SecretError(wrong)
    return octets


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
