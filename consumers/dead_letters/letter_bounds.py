"""What is kept of a letter, however much its message has: whoever published that chose its headers and its body.  Pure.

The router's bounds hold for what passed the router.  What the broker parks itself has passed nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from router.broker.interface import Arrival
from router.model.bounds import (
    EVENT,
    LETTER_DEPTH,
    LETTER_HEADERS,
    LETTER_HEADERS_SIZE,
    LETTER_ITEMS,
    LETTER_TEXT,
    REJECTED_BODY,
)
from router.pipeline.messages import CUT, DIGEST, whole
from router.sources.arguments import fitted

LEFT_OUT = "headers-cut"
"""The header that says how many headers are left out or cut."""

MARK = "..."
"""What stands for what is left out of a header."""

_FIRST = (
    *("subscription", "replay", "attempt", "reason", "topic", "traceparent", "claimed-key", "origin-user", "epoch"),
    *("sequence", CUT, DIGEST, "x-first-death-queue", "x-first-death-reason", "x-death"),
)
"""Headers that are kept before others: what replays and reasons are made from."""


def body_of(arrival: Arrival) -> tuple[bytes, Mapping[str, object]]:
    """Return what is kept of the body of *arrival*, and the headers that say what it was if that is not all."""
    if len(arrival.body) <= EVENT:
        return arrival.body, {}
    return arrival.body[:REJECTED_BODY], whole(arrival.body)


def headers_of(headers: Mapping[str, object]) -> dict[str, object]:
    r"""Return as many of *headers* as are kept, as plain values of JSON; `LEFT_OUT` says how many are not whole.

    >>> headers_of({"reason": "x", "x-death": [{"queue": "q", "count": 20}], "bytes": b"\xff"})
    {'reason': 'x', 'x-death': [{'queue': 'q', 'count': 20}], 'bytes': "b'\\xff'"}
    >>> headers_of({"deep": {"a": {"b": {"c": {"d": {"e": 1}}}}}, "attempt": 2})
    {'attempt': 2, 'deep': {'a': {'b': {'c': {'d': '...'}}}}, 'headers-cut': 1}
    """
    kept: dict[str, object] = {}
    room, left_out = LETTER_HEADERS_SIZE, 0
    # `sorted` keeps the order of the others.
    for name, value in sorted(headers.items(), key=lambda each: each[0] not in _FIRST):
        if name == LEFT_OUT:
            continue
        plain, is_cut = _plain(value, LETTER_DEPTH)
        size = len(json.dumps({name: plain}))
        if len(kept) < LETTER_HEADERS and size <= room:
            kept[name], room = plain, room - size
            left_out += is_cut
        else:
            left_out += 1
    return kept | {LEFT_OUT: left_out} if left_out else kept


def _plain(value: object, depth: int) -> tuple[object, bool]:
    """Return what is kept of *value* with at most *depth* tables and lists in one another, and whether it is cut."""
    if value is None or isinstance(value, bool | int | float):
        return value, False
    if not isinstance(value, Mapping | list):
        text = value if isinstance(value, str) else str(value)[:LETTER_TEXT]
        kept = fitted(text, LETTER_TEXT)
        return kept, kept != text
    if depth == 0:
        return MARK, True
    items = [*value.items()] if isinstance(value, Mapping) else [*enumerate(value)]
    found = {str(name): _plain(each, depth - 1) for name, each in items[:LETTER_ITEMS]}
    is_cut = len(items) > LETTER_ITEMS or any(cut for _, cut in found.values())
    plain = {name: each for name, (each, _) in found.items()}
    return plain if isinstance(value, Mapping) else [*plain.values()], is_cut
