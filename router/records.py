"""Records: what capture was called with, as the router reads it back.  No broker, only bytes and values.

The shape is held together with `shim/capture.py` by a contract test.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from .errors import InvalidTopic, Rejection
from .topics import IngressKey

_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\Z", re.ASCII)

LARGEST = 8 * 2**20
"""Octets of a record at the most: 1 MiB of arguments, each of which JSON can write as six."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_BASE_32 = str.maketrans(_CROCKFORD, "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_FIELDS = {"v", "id", "source", "event", "node", "captured_at", "boot", "arguments", "cut"}


@dataclass(frozen=True, slots=True)
class Record:
    """What one call of capture stored, with what the relay and the broker said of it.

    `cut` is the size in octets of the arguments where they were too large to be carried whole.
    """

    id: str
    source: str
    event: str
    cluster: str
    node: str
    captured_at: str
    boot: str
    arguments: tuple[str, ...]
    cut: int | None = None
    epoch: str | None = None
    sequence: int | None = None

    @property
    def moment(self) -> datetime:
        """When it was captured, to the microsecond, aware."""
        return datetime.fromisoformat(self.captured_at)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the broker vouches for, and what the relay wrote beside the record."""

    key: str
    user: str | None
    headers: Mapping[str, object]


def parse(body: bytes, provenance: Provenance, trusted: Collection[str] = ()) -> Record:
    """Return the record in *body*, believed only as far as the broker vouches for it.

    The node is the one of the validated user, and key and body must agree with it; users in *trusted* may speak
    for any node.  Raises Rejection with the reason.
    """
    try:
        key = IngressKey.parse(provenance.key)
    except InvalidTopic as error:
        raise Rejection(str(error)) from error
    fields = _fields(body)
    _check_identity(key, fields, provenance, trusted)
    cut = fields.get("cut")
    return Record(
        id=fields["id"],
        source=fields["source"],
        event=fields["event"],
        cluster=key.cluster,
        node=key.node,
        captured_at=fields["captured_at"],
        boot=fields["boot"],
        arguments=tuple(fields["arguments"]),
        cut=cut["bytes"] if cut else None,
        epoch=_epoch(provenance.headers),
        sequence=_sequence(provenance.headers),
    )


def _read(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return from_json(body)
    except ValueError:
        # Bytes that were no UTF-8 are half surrogates, which only the slower parser takes.
        return json.loads(body)


def _fields(body: bytes) -> dict:  # type: ignore[type-arg]  # checked field by field below
    if len(body) > LARGEST:
        raise Rejection(f"the body has {len(body)} octets, {LARGEST} at most can be")
    try:
        fields = _read(body)
    except (ValueError, RecursionError) as error:
        raise Rejection(f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise Rejection(f"the body is a JSON {type(fields).__name__}, not an object")
    if fields.get("v") != 1:
        raise Rejection(f"record version {fields.get('v')!r} is not 1")
    if unknown := fields.keys() - _FIELDS:
        raise Rejection(f"unknown field {min(unknown)[:100]!r}")
    for name, shape in (("id", _ULID), ("captured_at", _MOMENT)):
        value = fields.get(name)
        if not isinstance(value, str) or not shape.match(value):
            raise Rejection(f"field {name!r} has the value {value!r:.100}")
    try:
        datetime.fromisoformat(fields["captured_at"])
    except ValueError as error:
        raise Rejection(f"field 'captured_at' is no moment: {error}") from error
    if not isinstance(fields.get("boot"), str):
        raise Rejection("field 'boot' is no text")
    arguments = fields.get("arguments")
    if not isinstance(arguments, list) or not set(map(type, arguments)) <= {str}:
        raise Rejection("field 'arguments' is no list of texts")
    cut = fields.get("cut")
    if cut is not None and not (isinstance(cut, dict) and isinstance(cut.get("bytes"), int)):
        raise Rejection("field 'cut' has no number of bytes")
    return fields


def _check_identity(
    key: IngressKey, fields: Mapping[str, object], provenance: Provenance, trusted: Collection[str]
) -> None:
    if {"CC", "BCC"} & provenance.headers.keys():
        raise Rejection("a CC or BCC header: a record has one key")
    user = provenance.user
    if not user:
        raise Rejection("no validated user: the relay has to set user_id")
    if user != key.node and user not in trusted:
        raise Rejection(f"user {user!r} published as node {key.node!r}")
    for name, claimed in (("node", key.node), ("source", key.source), ("event", key.event)):
        # What is in the key is a word of the right shape, so this is all that there is to check.
        if fields.get(name) != claimed:
            raise Rejection(f"the body says {name} {fields.get(name)!r:.100}, the key {claimed!r}")


def _epoch(headers: Mapping[str, object]) -> str | None:
    epoch = headers.get("epoch")
    return epoch if isinstance(epoch, str) and _ULID.match(epoch) else None


def _sequence(headers: Mapping[str, object]) -> int | None:
    sequence = headers.get("sequence")
    if not isinstance(sequence, int) or isinstance(sequence, bool):
        return None
    return sequence if 0 <= sequence < 2**63 else None


def new_id(moment: int | None = None) -> str:
    """Return a new ULID of *moment* (nanoseconds since the epoch; now by default).

    >>> new_id(1_700_000_000_000_000_000)[:10], len(new_id())
    ('01HF7YAT00', 26)
    """
    milliseconds = (time.time_ns() if moment is None else moment) // 1_000_000
    number = milliseconds << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def encode(record: Record) -> bytes:
    """Return *record* as capture writes it, for `clusterbus emit` and the like."""
    fields = {
        "v": 1,
        "id": record.id,
        "source": record.source,
        "event": record.event,
        "node": record.node,
        "captured_at": record.captured_at,
        "boot": record.boot,
        "arguments": list(record.arguments),
    }
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def derived_id(record_id: str, what: str) -> str:
    """Return an id for *what* follows from a record: always the same, and of the same millisecond.

    >>> derived_id("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "gapOpened") == derived_id("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "gapOpened")
    True
    """
    number = int.from_bytes(hashlib.sha256(f"{record_id}/{what}".encode()).digest()[:10], "big")
    return record_id[:10] + "".join(_CROCKFORD[number >> shift & 31] for shift in range(75, -1, -5))


def traceparent(event_id: str) -> str:
    """Return the W3C trace context that begins with this event; the ULID is the trace id.

    >>> traceparent("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB")[:3]
    '00-'
    """
    trace = f"{int(event_id.translate(_TO_BASE_32), 32) & (1 << 128) - 1:032x}"
    return f"00-{trace}-{trace[16:]}-01"
