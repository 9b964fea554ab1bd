"""Signatures of Standard Webhooks, by which a receiver verifies the sender, the content and the time of a call."""

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
    """Return the key in *secret*; raises SecretError, which names only its *reference*."""
    wrong = f"secret {reference}: must be {PREFIX} followed by {_SHORTEST} to {_LONGEST} octets in base64"
    try:
        octets = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SecretError(wrong) from None
    if not secret.startswith(PREFIX) or not _SHORTEST <= len(octets) <= _LONGEST:
        raise SecretError(wrong)
    return octets


def message_id(delivery: Key) -> str:
    """Return the `webhook-id` of *delivery*, which is the same for each attempt and unique to the delivery.

    >>> message_id(Key("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "to-tickets", ""))
    '01KAG2V0M3Y8ZT6Q4XJ5W9E7RB_to-tickets'
    """
    # A dot separates id, time and body in the signed text.
    return "_".join(each for each in delivery if each).replace(".", "-")


def sign(keys: Iterable[bytes], message: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of *body*, with one signature per key, so that keys can be rotated."""
    signed = f"{message}.{timestamp}.".encode() + body
    digests = (hmac.new(each, signed, hashlib.sha256).digest() for each in keys)
    return " ".join(f"v1,{base64.b64encode(each).decode()}" for each in digests)
