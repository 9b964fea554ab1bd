"""Signatures of Standard Webhooks: what tells a receiver that a call is ours, is whole, and is no old one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

from ...deliveries import Key
from ...errors import SecretError

PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64


def key(secret: str, reference: str) -> bytes:
    """Return the key in *secret*; raises SecretError that names its *reference* alone."""
    wrong = f"secret {reference}: has to be {PREFIX} and {_SHORTEST} to {_LONGEST} octets in base 64"
    try:
        octets = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SecretError(wrong) from None
    if not secret.startswith(PREFIX) or not _SHORTEST <= len(octets) <= _LONGEST:
        raise SecretError(wrong)
    return octets


def message_id(delivery: Key) -> str:
    """Return the `webhook-id` of *delivery*: the same for each of its attempts, and no other delivery's.

    >>> message_id(Key("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "to-tickets", ""))
    '01KAG2V0M3Y8ZT6Q4XJ5W9E7RB_to-tickets'
    """
    # A dot separates id, time and body in what is signed.
    return "_".join(each for each in delivery if each).replace(".", "-")


def sign(keys: Iterable[bytes], message: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of *body*, one for each of *keys*: while a key changes, both hold."""
    signed = f"{message}.{timestamp}.".encode() + body
    digests = (hmac.new(each, signed, hashlib.sha256).digest() for each in keys)
    return " ".join(f"v1,{base64.b64encode(each).decode()}" for each in digests)
