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
        self._moves: dict[str, Move] = {}
        self._held: dict[str, list[Arrival]] = {}

    def arrived(self, arrival: Arrival, node: str) -> Move | None:
        """Note where a record of *node* came from; returns the move of a node that is not where it belongs."""
        if node in self._moves:
            return None
        if arrival.queue == INGRESS:
            # A node that is bound has old records there.
            return None if node in self._bound else self._move(node, INGRESS, shard_of(node))
        self._bound[node] = arrival.queue
        if arrival.queue not in (QUARANTINE, shard_of(node)):
            return self._move(node, arrival.queue, shard_of(node))
        return None

    def quarantine(self, node: str) -> Move | None:
        """Return the move that sets *node* aside; None while another move of it is under way, or it is there."""
        return self._from_here(node, QUARANTINE)

    def release(self, node: str) -> Move | None:
        """Return the move of *node* back to its shard; None while another move of it is under way, or it is there."""
        return self._from_here(node, shard_of(node))

    def _from_here(self, node: str, new: str) -> Move | None:
        old = self._bound.get(node)
        return self._move(node, old, new) if old is not None and old != new and node not in self._moves else None

    def _move(self, node: str, old: str, new: str) -> Move:
        move = self._moves[node] = Move(node, old, new)
        self._bound[node] = new
        return move

    def is_held(self, arrival: Arrival, node: str) -> bool:
        """Say whether *arrival* has to wait, and keep it if so, until `passed` returns it."""
        move = self._moves.get(node)
        if move is None or arrival.queue != move.new:
            return False
        self._held.setdefault(move.marker, []).append(arrival)
        return True

    def passed(self, marker: str) -> list[Arrival]:
        """Return what was held for *marker*, which has come through its queue, or will never come."""
        for node, move in self._moves.items():
            if move.marker == marker:
                del self._moves[node]
                break
        return self._held.pop(marker, [])

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
