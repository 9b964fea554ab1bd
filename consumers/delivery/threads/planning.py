"""Asks handlers what a call would do and what it depends on, in threads: that may read secrets or run commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial

from router.broker.interface import Broker
from router.model import durations

from ...deliveries import Delivery, Outcome
from ...expressions.templates import Template
from ...policies.retry import raised
from ...verbs.interface import Handler
from ..active_subscription import Called
from ..in_flight import InFlight
from ..states import Admitted, Ended, Planning

LIMIT = timedelta(seconds=30)
"""How long a handler may take for it."""


class Planner:
    """Completes deliveries with what their gates ask about.  Every method runs in the broker's thread."""

    def __init__(
        self,
        broker: Broker,
        clock: Callable[[], datetime],
        planned: Callable[[InFlight], None],
        ended: Callable[[InFlight, Ended], None],
    ) -> None:
        """Call *planned* for each delivery that is complete, *ended* for each whose handler took too long."""
        self._broker, self._clock, self._planned, self._ended = broker, clock, planned, ended

    def needs(self, in_flight: InFlight, admitted: Admitted) -> bool:
        """Say whether a gate asks for it; events that are folded are not called by themselves."""
        subscription = in_flight.subscription
        is_folded = subscription.definition.fold and admitted.is_new and not admitted.delivery.replay
        return subscription.is_planned and not admitted.is_planned and not is_folded

    def submit(self, due: Mapping[InFlight, Admitted]) -> None:
        """Complete *due* soon, or end them after the limit."""
        for each, state in due.items():
            way = each.subscription.way
            assert isinstance(way, Called)  # noqa: S101 - for the reader: `log` has no gates
            each.state = planning = Planning(state)
            planning.tickets.append(way.planning.submit(partial(self._plan, each, planning, way)))
        if due:
            states = [(each, each.state) for each in due if isinstance(each.state, Planning)]
            self._broker.later(LIMIT, partial(self._give_up, states))

    def _plan(self, in_flight: InFlight, planning: Planning, way: Called) -> None:
        """Ask the handler, in a thread."""
        found = complete(in_flight, planning.admitted, way)
        self._broker.call(partial(self._collect, in_flight, planning, found))

    def _collect(self, in_flight: InFlight, planning: Planning, found: Admitted) -> None:
        # It may have been given up or given back meanwhile.
        if in_flight.state is planning:
            in_flight.state = found
            self._planned(in_flight)

    def _give_up(self, states: list[tuple[InFlight, Planning]]) -> None:
        for each, planning in states:
            if each.state is not planning:
                continue
            now, delivery = self._clock(), planning.delivery
            what = f"the handler took longer than {durations.text(LIMIT)} to say what it would do"
            outcome: Outcome = raised(delivery, TimeoutError(what), each.subscription.definition.retry)
            if any(ticket.cancel() for ticket in planning.tickets):
                outcome = planning.admitted.wait(LIMIT, f"other deliveries wait: {what}")
            self._ended(each, planning.fail(outcome, now))


def complete(in_flight: InFlight, admitted: Admitted, way: Called) -> Admitted:
    """Return *admitted* with its targets and nodes, and with the plan where a person is asked about it.

    Where a gate asks for the nodes or the plan, and they cannot be told, the plan is the outcome of the attempt.
    """
    handler, definition = way.handler, in_flight.subscription.definition
    delivery = admitted.delivery
    try:
        delivery = in_flight.subscription.enriched(delivery)
        targets = tuple(str(each) for each in handler.targets(delivery))
    except BaseException:  # noqa: BLE001 - whatever it is, the call will raise it, and then it counts
        targets = ()
    plan: str | Outcome = ""
    nodes: tuple[str, ...] = ()
    try:
        if definition.guard and definition.guard.asks_for_nodes:
            nodes = _nodes(handler, delivery, definition.guard.acts_on)
        if in_flight.subscription.asks_people:
            plan = json.dumps(dict(handler.plan(delivery)), default=str)
    except BaseException as error:  # noqa: BLE001 - this attempt has failed, and nothing else has
        plan = raised(delivery, error, definition.retry)
    return replace(admitted, targets=targets, nodes=nodes, plan=plan, is_planned=True)


def _nodes(handler: Handler, delivery: Delivery, acts_on: str | None) -> tuple[str, ...]:
    """Return the nodes that a call acts on: those of the template *acts_on*, or those that *handler* runs on."""
    if acts_on is None:
        return tuple(handler.nodes(delivery))
    # ClusterShell, which few subscriptions need.
    from ...verbs.run.node_targets import names_of  # noqa: PLC0415

    return names_of(_template(acts_on).render(handler.prepared(delivery)))


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    return Template(text)
