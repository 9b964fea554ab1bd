"""How a queue or an exchange at the broker differs from what we declare, and what follows from that.  No I/O.

RabbitMQ compares one argument after another, and names the first that differs.  What it says is taken over into the
next declaration, until nothing differs any more: then all differences are known, and nothing was changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .topology import Argument, Exchange, Queue

_DIFFERS = re.compile(r"inequivalent arg '([^']+)' for .*: received .* but current is (.+)", re.DOTALL)
_UNKNOWN = re.compile(r"invalid arg '([^']+)' for ")
_VALUE = re.compile(r"the value '(.*)' of type '(\w+)'", re.DOTALL)
_TYPE, _STREAM, _AGE, _AUTO_DELETE = "x-queue-type", "stream", "x-max-age", "auto_delete"

MOST = 20
"""How many differences of one queue or exchange are learned at most."""

FLAGS = ("durable", _AUTO_DELETE)
"""What the broker compares besides arguments, of queues and of exchanges; of exchanges also their type."""

_MEANINGS = {
    "durable": "a restart of the broker deletes it with what it holds",
    "x-dead-letter-exchange": "what it gives up goes elsewhere",
    "x-delivery-limit": "it gives a message up after another number of deliveries",
    "x-expires": "the broker deletes it when nobody reads it",
    "x-max-length": "once it is full, it refuses or drops messages",
    "x-max-length-bytes": "once it is full, it refuses or drops messages",
    "x-message-ttl": "messages leave it after another time",
    "x-overflow": "once it is full, it drops messages",
    "x-single-active-consumer": "one consumer at a time reads it",
    "alternate-exchange": "messages that match no queue go elsewhere",
}
"""What it means that a value is another one, or is there at all."""

_MISSING = {
    "x-dead-letter-exchange": "what it gives up is lost",
    "x-dead-letter-strategy": "what it gives up may be lost",
    "x-max-length": "nothing limits it",
    "x-max-length-bytes": "nothing limits it",
    "x-message-ttl": "messages stay in it",
    "x-single-active-consumer": "several consumers may read it at once, and change the order",
    "alternate-exchange": "messages that match no queue are lost",
}
"""What it means that a value is missing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One argument or flag *key*: the value that we declare, and the one that is *there*; None if there is none."""

    key: str
    wanted: Argument | None
    there: Argument | None

    def __str__(self) -> str:
        """Return it in words, with what it means.

        >>> str(Difference("x-message-ttl", 1000, None))
        'x-message-ttl is missing, wanted 1000 (messages stay in it)'
        """
        there = f"is {_plain(self.there)}" if self.there is not None else "is missing"
        if self.key == _TYPE and self.there is None:
            there = "is classic"
        wanted = "none" if self.wanted is None else _plain(self.wanted)
        meaning = _MISSING.get(self.key) if self.there is None else None
        meaning = meaning or _MEANINGS.get(self.key)
        return f"{self.key} {there}, wanted {wanted}" + (f" ({meaning})" if meaning else "")


@dataclass(frozen=True, slots=True)
class Unlike:
    """The queue or exchange *name* of *kind*, which is not as we declare it; *reason* says it in words.

    With *is_left_out*, it is neither bound nor consumed; else it is used as it is.  With *loses*, what it gets would be
    lost.  *differences* are empty where the broker does not tell them.
    """

    kind: str
    name: str
    reason: str
    is_left_out: bool
    loses: bool = False
    differences: tuple[Difference, ...] = ()

    def __str__(self) -> str:
        """Return it in words.

        >>> str(Unlike("queue", "q", "PRECONDITION_FAILED - queue limit is reached", is_left_out=True))
        'queue q cannot be declared: PRECONDITION_FAILED - queue limit is reached'
        """
        if not self.differences:
            return f"{self.kind} {self.name} cannot be declared: {self.reason}"
        use = "cannot be used" if self.is_left_out else "is used as it is"
        return f"{self.kind} {self.name} exists, but differs from what this version declares, and {use}: {self.reason}"

    @property
    def way_out(self) -> str:
        """What an operator can do."""
        again = f"clusterbus broker setup, or the consumer that reads it, creates it again ({_PAGE})"
        if self.kind == "exchange":
            return f"stop routers and consumers, delete it, run clusterbus broker setup, and start them ({_PAGE})"
        if not self.differences:
            return f"remove what the broker names; where the queue exists, delete it: {again}"
        if self.is_left_out:
            return f"save what it holds if that is needed, and delete it: {again}"
        return f"to get it as wanted, stop the routers, delete it once it is empty, and start them: {again}"


_PAGE = "the project's page router/broker/README.md"


def sentences(found: Iterable[Unlike]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return in words what of *found* cannot be used, and what is used as it is."""
    left_out: list[str] = []
    used: list[str] = []
    for each in found:
        (left_out if each.is_left_out else used).append(str(each))
    return tuple(left_out), tuple(used)


def flags_of(thing: Queue | Exchange) -> dict[str, Argument]:
    """Return what the broker compares of *thing* besides arguments.

    >>> flags_of(Exchange("e", "topic"))
    {'durable': True, 'auto_delete': False, 'type': 'topic'}
    """
    flags: dict[str, Argument] = dict(zip(FLAGS, (True, False), strict=True))
    return flags | {"type": thing.kind} if isinstance(thing, Exchange) else flags


def difference(text: str, thing: Queue | Exchange, known: Iterable[Difference] = ()) -> Difference | None:
    """Return the difference that the broker's *text* names and that is not *known*; None if it names none.

    >>> q = Queue("q", {"x-max-length": 5, "x-queue-type": "quorum"})
    >>> said = "PRECONDITION_FAILED - inequivalent arg '{}' for queue 'q' in vhost '/': received {} but current is {}"
    >>> difference(said.format("x-max-length", "'5'", "'7'"), q)
    Difference(key='x-max-length', wanted=5, there=7)
    >>> difference(said.format("x-expires", "none", "the value '9' of type 'signedint'"), q)
    Difference(key='x-expires', wanted=None, there=9)
    >>> difference(said.format("x-max-length", "the value '5' of type 'signedint'", "none"), q)
    Difference(key='x-max-length', wanted=5, there=None)
    >>> difference(said.format("x-max-age", "'7200000'", "'3600000'"), Queue("q", {"x-max-age": "7200s"}))
    Difference(key='x-max-age', wanted='7200s', there='3600s')
    >>> difference("PRECONDITION_FAILED - queue limit in vhost '/' (5) is reached", q)
    """
    known = [*known]
    wanted = {**thing.arguments, **flags_of(thing)}
    if found := _DIFFERS.search(text):
        key = found[1]
        try:
            there = _value(found[2], wanted.get(key))
            if key == _AGE and isinstance(there, str) and there.isdigit():
                # RabbitMQ 4.3 compares milliseconds, and takes them only with a unit.
                there = f"{int(there) // 1000}s"
            new = Difference(key, wanted.get(key), there)
        except ValueError:
            return None
    elif known and (found := _UNKNOWN.search(text)) and found[1] in thing.arguments:
        # What is there is of a type that does not have this argument at all.
        new = Difference(found[1], wanted[found[1]], None)
    else:
        return None
    # What is named again although it was taken over is not understood.
    return None if new.key in {each.key for each in known} else new


def as_there(thing: Queue | Exchange, differences: Iterable[Difference]) -> tuple[dict[str, Argument], dict[str, bool]]:
    """Return arguments and flags of *thing* with what *differences* say of what is there; a type is an argument.

    >>> as_there(Queue("q", {"x-max-length": 5}), [Difference("x-max-length", 5, None)])
    ({}, {'durable': True, 'auto_delete': False})
    """
    found = {**thing.arguments, **flags_of(thing)}
    for each in differences:
        if each.there is None:
            found.pop(each.key, None)
        else:
            found[each.key] = each.there
    flags = {name: bool(found.pop(name, False)) for name in FLAGS}
    return found, flags


def learn(text: str, thing: Queue | Exchange, known: list[Difference]) -> bool:
    """Add the difference that the broker's *text* names to those that are *known*; return False if it is none."""
    new = difference(text, thing, known) if len(known) < MOST else None
    if new is not None:
        known.append(new)
    return new is not None


def is_of_earlier_release(thing: Queue | Exchange, differences: Iterable[Difference]) -> bool:
    """Say whether *differences* are only what a queue of an earlier release may lack.

    >>> lacking = [Difference("x-max-length", 5, None)]
    >>> is_of_earlier_release(Queue("q", {"x-max-length": 5}, may_lack=("x-max-length",)), lacking)
    True
    >>> is_of_earlier_release(Queue("q", {"x-max-length": 5}), lacking)
    False
    """
    lacked = thing.may_lack if isinstance(thing, Queue) else ()
    return all(each.key in lacked and each.there is None for each in differences)


def unlike(thing: Queue | Exchange, differences: Iterable[Difference], text: str) -> Unlike:
    """Return how *thing* differs by all *differences*; without them, the broker says why in *text*."""
    found = tuple(differences)
    kind = "exchange" if isinstance(thing, Exchange) else "queue"
    if not found:
        return Unlike(kind, thing.name, text, is_left_out=True)
    # Another number is another delay; another name is another way.
    loses = isinstance(thing, Queue) and any(
        each.key in thing.needs and not isinstance(each.there, int) for each in found
    )
    # A queue that deletes itself does so with what it holds, as soon as we stop to consume it.
    ways = ("type",) if isinstance(thing, Exchange) else (_AUTO_DELETE,)
    left_out = loses or any(each.key in ways or _is_of_stream(each) for each in found)
    return Unlike(kind, thing.name, ", ".join(map(str, found)), left_out, loses, found)


def _is_of_stream(found: Difference) -> bool:
    """Say whether one of both is a stream: nothing else is read as a stream is."""
    return found.key == _TYPE and _STREAM in (found.wanted, found.there)


def _plain(value: Argument) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(text: str, wanted: Argument | None) -> Argument | None:
    """Return the value in the broker's *text*; raises ValueError for a type that we never declare.

    >>> _value("the value 'true' of type 'bool'", None), _value("'classic'", "quorum"), _value("none", 1)
    (True, 'classic', None)
    """
    if text == "none":
        return None
    typed = _VALUE.fullmatch(text)
    inner, kind = (typed[1], typed[2]) if typed else (text.strip("'"), "")
    if kind == "bool" or (not kind and isinstance(wanted, bool)):
        return inner == "true"
    is_number = inner.removeprefix("-").isdigit() and not isinstance(wanted, str)
    if kind == "longstr" or (not kind and not is_number):
        return inner
    if kind and not kind.endswith(("int", "long", "byte", "short")):
        raise ValueError(text)
    return int(inner)
