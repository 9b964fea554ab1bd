"""Takes records from the ingress queues, in turn, and keeps nodes that flood from delaying the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from ...broker.interface import Arrival, Broker, Message, Settlement
from ...broker.topology import INGRESS, INGRESS_QUEUES, QUARANTINE, SHARDS, passed
from ..gap_detection import Place
from .flood_detection import Flood, FloodEnded, Meter
from .placement import Move, Placement, cluster_of, marker_of, node_of, whole
from .turns import Turns, cost

log = logging.getLogger(__name__)

_PREFETCH, _FEW = 2000, {INGRESS: 500, QUARANTINE: 64}
"""So much that what a node sent into a queue before it was set aside is in memory, and not before the others.

Fewer from the queue of newcomers and trusted users, of whom nothing bounds the octets in memory.
"""

_PAUSE = timedelta(milliseconds=100)
"""The wait before a marker that a queue refuses is sent again."""

_AGAIN = timedelta(seconds=30)
"""The wait before a marker that did not come through is sent again: another router may have got it."""

_CONTACT = timedelta(seconds=15)
"""If nothing arrived for so long, another router may be the one that hears them, and moves nodes."""

_HEAP = 32 * 2**20
"""Octets of a node that wait in memory: with more of them it is set aside even if nobody else sends."""


class Ingress:
    """The records that wait for the router."""

    def __init__(self, broker: Broker, clock: Callable[[], datetime], *, arrived: Callable[[], None]) -> None:
        """Read over *broker*; *arrived* is called when there may be something to `take`."""
        self._broker, self._clock, self._arrived = broker, clock, arrived
        self._turns = Turns()
        self._meter = Meter()
        self._placement = Placement()
        self._moves: list[Move] = []
        self._clusters: dict[str, str] = {}
        self.heard: datetime | None = None
        """When a record arrived last, for this router alone."""

        self.findings: list[tuple[Place, Flood | FloodEnded]] = []

    def __len__(self) -> int:
        """Return how many records wait in memory."""
        return len(self._turns)

    def start(self) -> None:
        """Consume all queues."""
        for queue in INGRESS_QUEUES:
            self._broker.consume(queue, self._receive, prefetch=_FEW.get(queue, _PREFETCH))

    def due(self) -> timedelta | None:
        """Return when there will be something to `take`: None where nothing waits."""
        return self._turns.due(self._clock())

    def take(self) -> list[Arrival]:
        """Return the next batch; `done` is called when it has been dealt with."""
        return self._turns.take(self._clock())

    def done(self) -> None:
        """Note that the batch has been dealt with."""
        self._turns.done(self._clock())

    def check(self) -> None:
        """Release the nodes that are quiet again, if anybody is heard at all."""
        moment = self._clock()
        if self.heard is None or not self.heard <= moment < self.heard + _CONTACT:
            return
        for node, was_flood in self._meter.quiet(moment).items():
            if was_flood:
                self.findings.append(((self._clusters.pop(node), node), FloodEnded()))
                log.info("node sends no more than its share again", extra={"node": node})
        for node in self._placement.quarantined.difference(self._meter.aside):
            self._plan(self._placement.release(node))

    def _receive(self, arrival: Arrival) -> None:
        marker = marker_of(arrival)
        if marker is not None:
            self._pass(marker)
            self._broker.ack(arrival)
            return
        moment, node, octets = self._clock(), node_of(arrival), cost(arrival)
        self.heard = moment
        if node is not None:
            self._judge(arrival, node, octets, moment)
            if self._placement.is_held(arrival, node, octets):
                return
        self._add(arrival, node or arrival.queue, octets, moment)
        self._arrived()

    def _add(self, arrival: Arrival, lane: str, octets: int, moment: datetime) -> None:
        aside = arrival.queue == QUARANTINE or lane in self._meter.aside
        self._turns.add(arrival, lane, octets, moment, aside=aside)

    def _judge(self, arrival: Arrival, node: str, octets: int, moment: datetime) -> None:
        """Count *arrival*, and move its *node* where it belongs."""
        was_placed = self._placement.is_placed(node)
        self._plan(self._placement.arrived(arrival, node))
        if not was_placed and arrival.queue == QUARANTINE and node not in self._meter.aside:
            # An earlier router set it aside.
            self._meter.set_aside(node, moment, is_flood=True)
            self._clusters[node] = cluster_of(arrival)
        flood = self._meter.count(node, octets, moment)
        if self._turns.octets(node) > _HEAP:
            self._meter.set_aside(node, moment)
        if flood:
            self._clusters[node] = cluster_of(arrival)
            self.findings.append(((self._clusters[node], node), flood))
            facts = {"node": node, "records": flood.records, "octets": flood.octets}
            log.warning("node sends more than its share, and waits behind the others", extra=facts)
        if node in self._meter.aside:
            self._plan(self._placement.quarantine(node))

    def _plan(self, move: Move | None) -> None:
        """Make *move* together with the others of this turn of the loop."""
        if move is None:
            return
        if not self._moves:
            self._broker.later(timedelta(), self._make_moves)
        self._moves.append(move)

    def _make_moves(self) -> None:
        moves, self._moves = self._moves, []
        self._broker.declare(whole(moves))
        for each in moves:
            # Sent once all is declared.
            self._mark(each)

    def _mark(self, move: Move) -> None:
        # A queue that is full refuses markers too; it is emptied only while events are published meanwhile.
        message = Message(SHARDS, passed(move.old), b"", move.marker, "marker", again=False)
        self._broker.publish(message, partial(self._marked, move))

    def _marked(self, move: Move, settlement: Settlement) -> None:
        match settlement:
            case Settlement.REFUSED:
                self._broker.later(_PAUSE, partial(self._mark, move))
            case Settlement.UNROUTED:
                self._pass(move.marker)
            case Settlement.CONFIRMED:
                self._broker.later(_AGAIN, partial(self._mark_again, move))

    def _mark_again(self, move: Move) -> None:
        if self._placement.is_under_way(move):
            self._mark(move)

    def _pass(self, marker: str) -> None:
        moment = self._clock()
        for arrival, node, octets in self._placement.passed(marker):
            self._add(arrival, node, octets, moment)
        self._arrived()
