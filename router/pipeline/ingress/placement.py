"""Decides which ingress queue each node is bound to, and keeps a node's records in order when that changes.  Pure.

A node that was never seen is bound to the shard that its name leads to; its first records are in the queue of the
newcomers.  A node that floods is bound to the quarantine, and back to its shard when it is quiet.

After such a move, records of the node are in two queues.  Those in the new queue are held until a marker, published to
the old queue after the move, has come through it: whatever the node had there came before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...broker.interface import Arrival
from ...broker.topology import INGRESS, QUARANTINE, SHARDS, Topology, of_node, shard_of
from ...model.ids import new_id
from ...model.topics import word

_NODE = re.compile(r"[^.]+\.[^.]+\.[^.]+\.([a-z0-9-]{1,63})\Z", re.ASCII)
"""An ingress key, and in it the word of the node as the broker checks it."""

Held = tuple[Arrival, str, int]
"""A record that is held, with its node and its cost."""

_LONGEST = 100
"""Characters of a cluster's name in an event."""


@dataclass(frozen=True, slots=True)
class Move:
    """Binds *node* to the queue *new* instead of *old*; *marker* is the id of the message that then goes to *old*."""

    node: str
    old: str
    new: str
    marker: str = field(default_factory=new_id)

    @property
    def topology(self) -> Topology:
        """What is to be declared: first the new binding, so that no record is between the two."""
        # Newcomers are in the old queue because they have no binding.
        stale = () if self.old == INGRESS else (of_node(self.node, self.old),)
        return Topology(bindings=(of_node(self.node, self.new),), stale=stale)


def node_of(arrival: Arrival) -> str | None:
    """Return the node whose record *arrival* is, or None where it is no node's own: only its user may be set aside."""
    found = _NODE.match(arrival.key)
    return found[1] if found and found[1] == arrival.user else None


def cluster_of(arrival: Arrival) -> str:
    """Return the cluster in the key of *arrival*, which `node_of` knows, as a word of events: the rest may be anything.

    >>> cluster_of(Arrival("", "", "gpfs.prod east.mount.n1", b"", "", "n1", {}, False, None))
    'prod_east'
    """
    return word(arrival.key.split(".")[1])[:_LONGEST]


def marker_of(arrival: Arrival) -> str | None:
    """Return the id of the marker that *arrival* is, if it is one: only routers may publish to that exchange."""
    return arrival.id if arrival.exchange == SHARDS else None


class Placement:
    """Where each node's records are."""

    def __init__(self) -> None:
        """Begin without knowledge: the queue from which a node's records come is where it is bound."""
        self._bound: dict[str, str] = {}
        self._moves: dict[str, list[Move]] = {}
        self._held: dict[str, list[Held]] = {}
        self._early: set[str] = set()
        self._placed: set[str] = set()

    def arrived(self, arrival: Arrival, node: str) -> Move | None:
        """Note where a record of *node* came from; returns the move of a node that is not where it belongs."""
        if node in self._moves:
            return None
        if arrival.queue == INGRESS:
            # A node that is bound has old records there.
            return None if node in self._bound else self._move(node, INGRESS, shard_of(node))
        if arrival.queue == QUARANTINE and self._bound.get(node) != QUARANTINE and node not in self._placed:
            # An earlier router bound it there, perhaps just now: what it has in its shard came before.
            self._bound[node] = shard_of(node)
            if move := self.quarantine(node):
                return move
        self._bound[node] = arrival.queue
        if arrival.queue not in (QUARANTINE, shard_of(node)):
            return self._move(node, arrival.queue, shard_of(node))
        return None

    def quarantine(self, node: str) -> Move | None:
        """Return the move that sets *node* aside; None if it is there, or on its way back from there.

        A newcomer need not have arrived in its shard: until then its flood would fill the queue of others.
        """
        return self._from_here(node, QUARANTINE)

    def release(self, node: str) -> Move | None:
        """Return the move of *node* back to its shard; None while another move of it is under way, or it is there."""
        return self._from_here(node, shard_of(node))

    def _from_here(self, node: str, new: str) -> Move | None:
        old = self._bound.get(node)
        if old is None or any(new in (each.old, each.new) for each in self._moves.get(node, ())):
            # A marker shows only once what came to a queue before and what after a move.
            return None
        under_way = ((each.old, each.new) for moves in self._moves.values() for each in moves)
        if old == new or (new, old) in under_way:
            # Of two moves between the same queues, one there and one back, either queue could fill with records that
            # wait for the marker behind those of the other.
            return None
        return self._move(node, old, new)

    def is_under_way(self, move: Move) -> bool:
        """Say whether the marker of *move* has not come through yet."""
        return move in self._moves.get(move.node, ())

    def is_placed(self, node: str) -> bool:
        """Say whether it was this router that bound *node* where it is."""
        return node in self._placed

    def _move(self, node: str, old: str, new: str) -> Move:
        move = Move(node, old, new)
        self._moves.setdefault(node, []).append(move)
        self._bound[node] = new
        self._placed.add(node)
        return move

    def is_held(self, arrival: Arrival, node: str, octets: int) -> bool:
        """Say whether *arrival*, which costs *octets*, has to wait, and keep it if so, until `passed` returns it."""
        for move in self._moves.get(node, ()):
            if arrival.queue == move.new:
                self._held.setdefault(move.marker, []).append((arrival, node, octets))
                return True
        return False

    def passed(self, marker: str) -> list[Held]:
        """Return what need not be held any longer: *marker* has come through its queue, or will never come."""
        node = next((node for node, moves in self._moves.items() if marker in {each.marker for each in moves}), None)
        if node is None:
            return []
        self._early.add(marker)
        released, moves = list[Held](), self._moves[node]
        # In the order of the moves.
        while moves and moves[0].marker in self._early:
            first = moves.pop(0).marker
            self._early.remove(first)
            released += self._held.pop(first, [])
        if not moves:
            del self._moves[node]
        return released

    def is_quarantined(self, node: str) -> bool:
        """Say whether *node* is set aside; what is left there of one that was released does not count."""
        return self._bound.get(node) == QUARANTINE

    @property
    def quarantined(self) -> set[str]:
        """The nodes that are set aside."""
        return {node for node, queue in self._bound.items() if queue == QUARANTINE}


def whole(moves: Iterable[Move]) -> Topology:
    """Return what is to be declared for all *moves*."""
    topology = Topology()
    for each in moves:
        topology += each.topology
    return topology
