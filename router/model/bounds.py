"""The bounds of everything that comes from nodes and is sent on, in one place.

A node may report whatever it likes, so nothing may grow with what it sends.  What is beyond a bound is cut and marked,
or rejected; it never stops the router.  Sizes are octets, unless they say otherwise.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from .ids import derived_id

MESSAGE = 2 * 2**20
"""Octets of a record's body.  A larger one is rejected without being parsed: parsing costs many times its size."""

ARGUMENTS = 2**20
"""Octets of a record's arguments together, as capture keeps them; those that follow are cut."""

VARIABLES = 1000
"""Variables of an event.  Catalogues have some tens for a source; each costs consumers time in every filter."""

ITEMS = 20_000
"""Items of one list of an event: more than the nodes of the largest cluster."""

EVENT = 2 * 2**20
"""Octets of an event as JSON, all attributes included: what consumers, history and audit have to hold."""

SUBJECT = 4096
"""Characters of an event's subject, which repeats data."""

KEY = 255
"""Octets of a routing key, and of any other short string: AMQP 0-9-1 writes the length in one octet."""

REASON = 2000
"""Octets of the reason of a rejection: enough for a sentence with a value in it."""

HEADERS = 16 * 2**10
"""Octets of all header texts of a message of the router together: far below a frame."""

HEADER_FRAME = 64 * 2**10
"""Octets of a message's header frame, which cannot be split.  A frame above 128 KiB breaks the connection."""

SKEW = timedelta(minutes=5)
"""How far a node's clock may be ahead of the router's.  A time of capture later than that is named as malformed."""

FIRST_YEAR = 1970
"""The year before which no time of capture is believed.  The last is 9999, which `SKEW` excludes by far."""

LAST_YEAR = 8999
"""The last year that people may write, so that no duration that follows leaves the calendar."""


def checked(moment: datetime) -> datetime:
    """Return *moment*; raises ValueError where people cannot mean it.

    >>> checked(datetime(1, 1, 1))
    Traceback (most recent call last):
    ValueError: must be in the years 1970 to 8999
    """
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    return moment


REJECTED_BODY = 64 * 2**10
"""Octets kept of a rejected record's body: enough to see what it was."""

REJECTED_BODIES = 200
"""Rejected records kept of one user within `REJECTED_PERIOD`; further ones are only counted.  At most 12.5 MiB."""

REJECTED_PERIOD = timedelta(hours=1)
"""The time in which `REJECTED_BODIES` are kept of one user."""

LETTER_HEADERS = 100
"""Headers of a letter: ours are some ten, and an event in binary mode has twenty."""

LETTER_HEADERS_SIZE = HEADER_FRAME
"""Characters of all headers of a letter together, as JSON in ASCII."""

LETTER_TEXT = 4096
"""Octets of one text in the headers of a letter."""

LETTER_ITEMS = 50
"""Items of one list or table in the headers of a letter; `x-death` has one for each queue it was in."""

LETTER_DEPTH = 4
"""How many tables and lists in one another a header of a letter has; `x-death` has three."""

FINDINGS = 5
"""Reports of one kind on one node that are published at once; further ones are counted in one event a minute."""


_OF_NUMBER = 8


def fitting_id(text: str) -> str:
    """Return *text* if it fits as the id of a message, else an id that is always the same for it.

    >>> fitting_id("S"), fitting_id("x" * 256)
    ('S', '0000000000MZ27J59BAF73Y1ET')
    """
    return text if _octets(text) <= KEY else derived_id("0" * 10, text)


def fitting_headers(headers: Mapping[str, str | int | bool], *first: str) -> dict[str, str | int | bool]:
    """Return as many of *headers* as fit into the bound of the texts of a message of ours; those named *first* before.

    >>> fitting_headers({"a": "b", "long": "x" * 20_000, "n": 7, "number": 2**70, "x" * 300: 1})
    {'a': 'b', 'n': 7}
    """
    found: dict[str, str | int | bool] = {}
    room = HEADERS
    # `sorted` keeps the order of the others.
    for name, value in sorted(headers.items(), key=lambda each: each[0] not in first):
        octets = _octets(name) + (_octets(value) if isinstance(value, str) else _OF_NUMBER)
        is_too_large = isinstance(value, int) and not -(2**63) <= value < 2**63
        if octets <= room and _octets(name) <= KEY and not is_too_large:
            found[name], room = value, room - octets
    return found


def _octets(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
