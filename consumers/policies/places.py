"""Places: what deliveries are counted at while they run, such as a node or an action.  No clock and no store.

A delivery takes a place for each limit of its subscription when its handler is about to be called, and leaves it when
it has an outcome.  A consumer that works on it renews its lease; when that has run out, the place is free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from router.database.column_types import plain_text
from router.model.events import Event

from ..deliveries import Delivery
from ..expressions.filters import Filter
from .group_keys import key_of
from .guards import AtMost

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Place:
    """One place: *rule* says what is limited, *key* which of it; both are short, because databases refuse long keys."""

    rule: str
    key: str


@dataclass(frozen=True, slots=True)
class Acting:
    """A delivery that is about to act: what it is of, and which *targets* and *nodes* it acts on."""

    delivery: Delivery
    action: str = ""
    action_class: str = ""
    targets: Sequence[str] = ()
    nodes: Sequence[str] = ()


def places_of(limit: AtMost, acting: Acting) -> Iterator[Place]:
    """Yield the places that *acting* needs under *limit*: one for each target or node, and one otherwise."""
    event = acting.delivery.event
    by = key_of(event, limit.by)
    match limit.per:
        case "subscription":
            yield _place("subscription", acting.delivery.subscription, by)
        case "target":
            yield from (_place("target", each, by) for each in acting.targets)
        case "node":
            yield from (_place("node", event.cluster, each, by) for each in acting.nodes)
        case "file_system":
            yield _place("file_system", event.cluster, _file_system(event), by)
        case "action":
            yield _place("action", acting.action, by)
        case "class":
            yield _place("class", acting.action_class, by)
        case expression:
            value = _compiled(expression).value_of(event, acting.delivery.known)
            yield _place(f"expression {expression}", json.dumps(value, default=str, sort_keys=True), by)


def shown(limit: AtMost, place: Place) -> str:
    """Return what *place* is, for people.

    >>> shown(AtMost(count=1, per="node"), Place("node", "prod nsd01 []"))
    'node prod nsd01'
    """
    which = place.key.removesuffix(" []")
    return f"{limit.per} {which}" if limit.per in {"target", "node"} else f"the same {limit.per}"


def _file_system(event: Event) -> str:
    return str(event.data.get("fsName") or "-")


def _place(rule: str, *parts: str) -> Place:
    return Place(short(rule), short(" ".join(parts)))


def short(text: str) -> str:
    """Return *text*, or its beginning with a hash of the whole where it is long.

    >>> short("node"), len(short("x" * 5000))
    ('node', 267)
    """
    text = plain_text(text)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}...{hashlib.sha256(text.encode()).hexdigest()}"


@lru_cache(maxsize=256)
def _compiled(expression: str) -> Filter:
    return Filter(expression)
