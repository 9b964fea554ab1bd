"""Records: what one call of capture stored, as the router reads it.  No broker, only bytes and values.

`shim/capture.py` writes them; a contract test holds both ends together.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json

from ..errors import InvalidTopic, Rejection
from .bounds import ARGUMENTS, MESSAGE
from .ids import id_of_record, is_id
from .topics import IngressKey

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\Z", re.ASCII)

_FIELDS = {"v", "id", "source", "event", "node", "captured_at", "boot", "arguments", "cut"}


@dataclass(frozen=True, slots=True)
class Record:
    """What one call of capture stored, with what the relay and the broker added.

    `cut` is the size of all arguments in octets where they were too large to store completely.
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
        """The time of capture, to the microsecond, aware."""
        return datetime.fromisoformat(self.captured_at)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the broker vouches for, and the headers that the relay added to the record."""

    key: str
    user: str | None
    headers: Mapping[str, object]


def written(moment: datetime) -> str:
    """Return *moment* as records write it: in UTC, with nine decimals.

    >>> written(datetime.fromisoformat("2026-11-20T16:22:07.5+01:00"))
    '2026-11-20T15:22:07.500000000Z'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def parse(body: bytes, provenance: Provenance, trusted: Collection[str] = ()) -> Record:
    """Return the record in *body*, trusted only as far as the broker vouches for it.

    The validated user, the key and the body must name the same node; users in *trusted* may publish for any node.
    Raises Rejection with the reason.
    """
    try:
        key = IngressKey.parse(provenance.key)
    except InvalidTopic as error:
        raise Rejection(str(error)) from error
    fields = _fields(body)
    _check_identity(key, fields, provenance, trusted)
    arguments, cut = _arguments(fields, len(body))
    return Record(
        id=id_of_record(fields["id"]),
        source=fields["source"],
        event=fields["event"],
        cluster=key.cluster,
        node=key.node,
        captured_at=fields["captured_at"],
        boot=fields["boot"],
        arguments=arguments,
        cut=cut,
        epoch=_epoch(provenance.headers),
        sequence=_sequence(provenance.headers),
    )


def _read(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return from_json(body)
    except ValueError:
        # Octets that were not UTF-8 are written as half surrogates, which only the slower parser accepts.
        return json.loads(body)


def _fields(body: bytes) -> dict:  # type: ignore[type-arg]  # checked field by field below
    if len(body) > MESSAGE:
        raise Rejection(f"the body has {len(body)} octets; the limit is {MESSAGE}")
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
    for name, fits in (("id", is_id), ("captured_at", _MOMENT.match)):
        value = fields.get(name)
        if not isinstance(value, str) or not fits(value):
            raise Rejection(f"field {name!r} has the value {value!r:.100}")
    try:
        datetime.fromisoformat(fields["captured_at"])
    except ValueError as error:
        raise Rejection(f"field 'captured_at' is not a moment: {error}") from error
    if not isinstance(fields.get("boot"), str):
        raise Rejection("field 'boot' is not a text")
    arguments = fields.get("arguments")
    if not isinstance(arguments, list) or not set(map(type, arguments)) <= {str}:
        raise Rejection("field 'arguments' is not a list of texts")
    cut = fields.get("cut")
    if cut is not None and not (isinstance(cut, dict) and isinstance(cut.get("bytes"), int)):
        raise Rejection("field 'cut' has no number of bytes")
    return fields


def _arguments(fields: Mapping[str, Any], size: int) -> tuple[tuple[str, ...], int | None]:
    """Return the arguments in a body of *size* octets, and the octets of all of them where some were cut."""
    arguments = tuple(fields["arguments"])
    cut = fields["cut"]["bytes"] if fields.get("cut") else None
    # Written as JSON, no argument is shorter.
    if size <= ARGUMENTS:
        return arguments, cut
    kept, total = len(arguments), 0
    for number, each in enumerate(arguments):
        total += len(_octets(each))
        if total > ARGUMENTS:
            kept = min(kept, number)
    return (arguments, cut) if kept == len(arguments) else (arguments[:kept], max(total, cut or 0))


def _octets(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # A half surrogate that was never an octet: no capture writes one.
        return text.encode("utf-8", "surrogatepass")


def _check_identity(
    key: IngressKey, fields: Mapping[str, object], provenance: Provenance, trusted: Collection[str]
) -> None:
    if {"CC", "BCC"} & provenance.headers.keys():
        raise Rejection("a CC or BCC header: a record has one key")
    user = provenance.user
    if not user:
        raise Rejection("no validated user: the relay must set user_id")
    if user != key.node and user not in trusted:
        raise Rejection(f"user {user!r} published as node {key.node!r}")
    for name, claimed in (("node", key.node), ("source", key.source), ("event", key.event)):
        # The words of the key have the right shape already, so comparing is enough.
        if fields.get(name) != claimed:
            raise Rejection(f"the body says {name} {fields.get(name)!r:.100}, the key {claimed!r}")


def _epoch(headers: Mapping[str, object]) -> str | None:
    epoch = headers.get("epoch")
    return epoch if isinstance(epoch, str) and is_id(epoch) else None


def _sequence(headers: Mapping[str, object]) -> int | None:
    sequence = headers.get("sequence")
    if not isinstance(sequence, int) or isinstance(sequence, bool):
        return None
    return sequence if 0 <= sequence < 2**63 else None


def encode(record: Record) -> bytes:
    """Return *record* as capture writes it, for commands such as `clusterbus emit`."""
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
