"""Records: checks that a file in the spool is a valid record.  No disk, no broker: only bytes and values."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import NamedTuple

_FILE_NAME = re.compile(r"[0-9]{19}\.([0-7][0-9A-HJKMNP-TV-Z]{25})\.json\Z")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
_NODE = re.compile(r"[a-z0-9-]{1,63}\Z")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z\Z")
_FIELDS = frozenset(("v", "id", "source", "event", "node", "captured_at", "boot", "arguments", "cut"))
_TEXTS = ("id", "source", "event", "node", "captured_at", "boot")
_LONGEST_KEY = 255


class Unreadable(Exception):
    """A file in `new/` is not a valid record; the message is the reason."""


class Record(NamedTuple):
    """One record to send: *name* is its file in the spool, *body* the content of that file.

    A heartbeat is not *spooled*: it has no file, and is never sent again.
    """

    name: str
    id: str
    key: str
    event: str
    body: bytes
    sequence: int
    spooled: bool = True


def check(name: str, text: bytes, cluster: str) -> Record:
    """Return the record in the file *name* with content *text*, without a sequence number yet.

    Raises Unreadable with the reason if capture cannot have written *text*, or the broker could not route it.
    """
    named = _FILE_NAME.match(name)
    if named is None:
        raise Unreadable("the name is not <19 digits>.<id>.json")
    newline = text.find(b"\n")
    if newline not in (-1, len(text) - 1):
        raise Unreadable("it has more than one line")
    try:
        fields = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from error
    _check_fields(fields)
    if fields["id"] != named[1]:
        raise Unreadable(f"its id {fields['id']!r:.40} differs from the id in its name")
    key = _routing_key(fields["source"], cluster, fields["event"], fields["node"])
    return Record(name, fields["id"], key, fields["event"], text, 0)


def _check_fields(fields: object) -> None:
    if not isinstance(fields, dict):
        raise Unreadable(f"it is a JSON {type(fields).__name__}, not an object")
    version = fields.get("v")
    if version != 1 or isinstance(version, bool):
        raise Unreadable(f"its version is {version!r:.40}, not 1")
    if not fields.keys() <= _FIELDS:
        raise Unreadable(f"it has the unknown field {min(fields.keys() - _FIELDS)!r:.100}")
    for name in _TEXTS:
        if not isinstance(fields.get(name), str):
            raise Unreadable(f"its field {name!r} is {fields.get(name)!r:.100}, not a text")
    if _MOMENT.match(fields["captured_at"]) is None:
        raise Unreadable(f"its field 'captured_at' is {fields['captured_at']!r:.100}, not UTC with nanoseconds")
    arguments = fields.get("arguments")
    if not isinstance(arguments, list) or not all(map(str.__instancecheck__, arguments)):
        raise Unreadable("its field 'arguments' is not a list of texts")
    cut = fields.get("cut")
    if cut is not None and not (isinstance(cut, dict) and isinstance(cut.get("bytes"), int)):
        raise Unreadable("its field 'cut' does not give the number of bytes")


# Nearly all records of a node have one of a few keys; the cache checks each key only once.
@lru_cache(maxsize=200)
def _routing_key(source: str, cluster: str, event: str, node: str) -> str:
    for name, value, shape in (("source", source, _WORD), ("event", event, _WORD), ("node", node, _NODE)):
        if shape.match(value) is None:
            raise Unreadable(f"its field {name!r} is {value!r:.100}, which does not match {shape.pattern[:-2]}")
    key = f"{source}.{cluster}.{event}.{node}"
    if len(key) > _LONGEST_KEY:
        raise Unreadable(f"its routing key has {len(key)} bytes, the limit is {_LONGEST_KEY}")
    return key


def captured_at(name: str) -> float | None:
    """Return the time of capture in the file name *name*, in seconds since 1970, or None for any other file.

    >>> captured_at("1763652127980656123.01KAG2V0M3Y8ZT6Q4XJ5W9E7RB.json")
    1763652127.9806561
    """
    return int(name[:19]) / 1e9 if _FILE_NAME.match(name) else None
