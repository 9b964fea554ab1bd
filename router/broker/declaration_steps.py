"""The steps by which a topology is declared, in order.  No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .topology import Binding, Exchange, Queue, Topology


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to declare, to bind, or to unbind.

    With *after*, it removes a binding that the binding *after* replaces; where that one is denied, it makes it instead.
    """

    thing: Exchange | Queue | Binding
    gone: bool = False
    after: str = ""

    @property
    def identity(self) -> tuple[object, ...]:
        """What it is about: of two steps for the same thing, the later one counts.

        >>> Step(Queue("q", {"x-max-length": 1})).identity == Step(Queue("q")).identity
        True
        """
        match self.thing:
            case Binding(exchange, queue, key, arguments, of_exchange, replaces):
                return exchange, queue, key, frozenset(arguments.items()), of_exchange, replaces
            case thing:
                return type(thing), thing.name

    @property
    def queue(self) -> str:
        """The queue that it is about; empty if it is only about exchanges."""
        match self.thing:
            case Queue(name):
                return name
            case Binding(queue=queue, of_exchange=False):
                return queue
        return ""

    def __str__(self) -> str:
        """Return the step in words, for people."""
        match self.thing:
            case Exchange(name):
                return f"exchange {name}"
            case Queue(name):
                return f"queue {name}"
            case Binding(exchange, queue, key):
                return f"{'no ' if self.gone else ''}binding of {queue} to {exchange} by {key or 'headers'!r}"


def steps(topology: Topology) -> list[Step]:
    """Return the steps for *topology*, in order: a binding comes after what it binds.

    A binding of an exchange comes at once after the later of its exchanges, so that an exchange that is declared after
    those exists only where they are bound.
    """
    found: list[Step] = []
    between = [each for each in topology.bindings if each.of_exchange]
    there: set[str] = set()
    for exchange in topology.exchanges:
        found.append(Step(exchange))
        there.add(exchange.name)
        ready = [each for each in between if {each.exchange, each.queue} <= there]
        found += map(Step, ready)
        between = [each for each in between if each not in ready]
    things: tuple[Queue | Binding, ...] = (
        *topology.queues,
        *between,
        *(each for each in topology.bindings if not each.of_exchange),
    )
    for thing in things:
        found.append(Step(thing))
        if isinstance(thing, Binding) and thing.replaces:
            found.append(Step(_replaced(thing), gone=True, after=str(found[-1])))
    for stale in topology.stale:
        found.append(Step(stale, gone=True))
        if stale.replaces:
            found.append(Step(_replaced(stale), gone=True))
    return found


def _replaced(binding: Binding) -> Binding:
    return replace(binding, exchange=binding.replaces, replaces="")


def later_steps(before: Iterable[Step], new: Sequence[Step]) -> list[Step]:
    """Return the steps *before* and the *new* ones, of which each replaces the earlier one for the same thing.

    A queue or exchange keeps its place, before its bindings; a binding goes to the end, for example to be removed.

    >>> old = [Step(Queue("q")), Step(Binding("e", "q"))]
    >>> [str(each) for each in later_steps(old, [Step(Queue("q", {"x-max-length": 1}))])]
    ['queue q', "binding of q to e by 'headers'"]
    """
    things = {each.identity: each for each in new}
    kept = [
        things.pop(each.identity) if each.identity in things and not isinstance(each.thing, Binding) else each
        for each in before
        if not isinstance(each.thing, Binding) or each.identity not in things
    ]
    return kept + [each for each in new if each.identity in things]
