"""The ids of records and events: ULIDs, which sort by the millisecond that they are of.  Only text and numbers.

The first ten characters are the milliseconds since 1970, the other sixteen are random or derived.  `shim/capture.py`
makes the same ids with code of its own; a contract test holds the two together.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta

PATTERN = "[0-7][0-9A-HJKMNP-TV-Z]{25}"
"""An id, as a regular expression without anchors."""

NONE = "0" * 26
"""The id of what has none, such as a sample event."""

_ID = re.compile(PATTERN)
_LAST = "76EZ91ZPZZ"
"""How ids of the last millisecond of the year 9999 begin: `datetime` has no later one."""
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_BASE_32 = str.maketrans(_CROCKFORD, "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM = 80
_OF_TIME, _CHECKING = 10, 4
"""How many of the 26 digits of an id are its moment, and how many of a derived one follow from all others."""
"""Bits after the milliseconds."""


def is_id(text: str) -> bool:
    """Say whether *text* is an id, in upper case, of a moment until the end of the year 9999: `moment_of` has that.

    >>> is_id("01HF7YAT00CH9F3S5GQX0ZJ1YV"), is_id("01hf7yat00ch9f3s5gqx0zj1yv"), is_id("7" + "Z" * 25)
    (True, False, False)
    """
    return has_form(text) and text[: len(_LAST)] <= _LAST


def has_form(text: str) -> bool:
    """Say whether *text* is written as ids are.  Earlier releases took such ids of any moment from nodes.

    >>> has_form("7" + "Z" * 25), has_form("8" * 26)
    (True, False)
    """
    return _ID.fullmatch(text) is not None


def new_id(moment: datetime | None = None) -> str:
    """Return a new id of *moment*, which is aware and not before 1970; now by default.

    >>> new_id(datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))[:10], len(new_id())
    ('01HF7YAT00', 26)
    """
    milliseconds = ((moment or datetime.now(UTC)) - _EPOCH) // timedelta(milliseconds=1)
    return _written(milliseconds << _RANDOM | secrets.randbits(_RANDOM), 26)


def derived_id(record_id: str, what: str) -> str:
    """Return an id for *what* follows from *record_id*: always the same, and of the same millisecond.

    Its last digits follow from the others, by which `id_of_record` knows it: nodes choose the ids of their records, and
    can foresee these.

    >>> derived_id("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "gapOpened")
    '01KAG2V0M3F8H6XZX4675AT5F6'
    """
    id_ = record_id[:_OF_TIME] + _hashed(f"{record_id}/{what}", 16 - _CHECKING)
    return id_ + _hashed(id_, _CHECKING)


def id_of_record(claimed: str) -> str:
    """Return the id of a record that comes with the id *claimed*: the same, unless that has the form of derived ids.

    Otherwise a node could publish another event under the id of one that is about to follow, and whoever compares ids
    would take the true one for a copy.  Of a million ids of honest records, one has that form.

    >>> id_of_record("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB")
    '01KAG2V0M3Y8ZT6Q4XJ5W9E7RB'
    """
    is_derived = claimed[-_CHECKING:] == _hashed(claimed[:-_CHECKING], _CHECKING)
    return derived_id(claimed, "record") if is_derived else claimed


def id_at(moment: datetime, what: str) -> str:
    """Return an id with the millisecond of *moment* for *what* happened then; equal arguments give equal ids."""
    return derived_id(new_id(moment)[:10], what)


def moment_of(id_: str) -> datetime:
    """Return the moment that *id_* is of, to the millisecond, aware.

    Raises ValueError where *id_* is not an id, or is of a moment after the year 9999, which `datetime` does not have.

    >>> moment_of("01HF7YAT00CH9F3S5GQX0ZJ1YV").isoformat()
    '2023-11-14T22:13:20+00:00'
    >>> moment_of("7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
    Traceback (most recent call last):
    ValueError: id 7ZZZZZZZZZZZZZZZZZZZZZZZZZ is of a moment after the year 9999
    """
    if not has_form(id_):
        raise ValueError(f"{id_[:40]!r} is not an id: an id has 26 digits and capital letters")
    if not is_id(id_):
        raise ValueError(f"id {id_} is of a moment after the year 9999")
    return _EPOCH + timedelta(milliseconds=_number(id_) >> _RANDOM)


def traceparent(event_id: str) -> str:
    """Return the W3C trace context that begins with this event; the id is the trace id.

    It says *not sampled*, because nobody exports a span for the event.

    >>> traceparent("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB")
    '00-019aa02d8283f23fa35c9d9178971f0b-a35c9d9178971f0b-00'
    """
    trace = f"{_number(event_id):032x}"
    return f"00-{trace}-{trace[16:]}-00"


def _hashed(text: str, length: int) -> str:
    return _written(int.from_bytes(hashlib.sha256(text.encode()).digest()[:10], "big") >> 5 * (16 - length), length)


def _number(id_: str) -> int:
    return int(id_.translate(_TO_BASE_32), 32)


def _written(number: int, length: int) -> str:
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(5 * length - 5, -1, -5))
