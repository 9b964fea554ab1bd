"""`clusterbus consume --dry-run`: prints what subscriptions would do with events as they arrive.

It reads the history, as `tail` does.  It takes no message from any subscription's queue, and does not open the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

from router.broker.interface import Arrival, Broker, history_offset
from router.broker.topology import HISTORY
from router.cli.output import Styled, say, show
from router.errors import InvalidEvent
from router.model.events import Event
from router.programs.running import run_until_stopped
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from ..expressions.facts_cache import ClusterFacts, FactsCache
from ..expressions.sanitize import shortened
from ..subscriptions import validation
from ..subscriptions.fact_use import asks_for_facts
from ..subscriptions.models import Subscription
from .dry_run import Plan, Rehearsal, rehearse
from .rehearsal_view import show_one
from .test_runner import planner

_AT_HAND = 1000
_MARGIN = timedelta(minutes=1)
"""Streams are read from the beginning of a chunk.  Starting earlier costs only time."""

_SHOWN = 2000


class DryRun:
    """Reports what each subscription would do with each event."""

    def __init__(
        self,
        plans: Sequence[tuple[Subscription, Plan]],
        report: Callable[[Event, Sequence[Rehearsal]], None],
        facts: ClusterFacts | None = None,
    ) -> None:
        """Rehearse the subscriptions in *plans* with the handlers' plans and current facts; call *report* per event."""
        self._plans, self._report = plans, report
        self._facts = facts if any(asks_for_facts(each) for each, _ in plans) else None
        if self._facts:
            self._facts.begin()

    def read(self, arrival: Arrival, since: datetime | None) -> None:
        """Report the event in *arrival*, unless it happened before *since*; raises InvalidEvent."""
        event = Event.from_json(arrival.body)
        if since is None or event.moment >= since:
            known = self._facts.of(event.cluster) if self._facts else None
            self._report(event, [rehearse(subscription, event, plan, known) for subscription, plan in self._plans])


def dry_run(
    broker: Broker,
    settings: Settings,
    paths: Sequence[Path],
    *,
    back: timedelta | None,
    now: datetime,
    as_json: bool,
) -> None:
    """Rehearse the subscriptions in *paths* until a signal: with events since *back* before *now*, or from now on.

    Raises SubscriptionsError and what `broker.run` raises.
    """
    subscriptions = validation.load(paths, catalogues(settings), settings).subscriptions
    with ExitStack() as stack:
        plans = [(each, stack.enter_context(planner(each, settings))) for each in subscriptions]
        rehearsal = DryRun(plans, _as_json if as_json else _for_people, FactsCache(settings))

        def receive(arrival: Arrival) -> None:
            try:
                rehearsal.read(arrival, None if back is None else now - back)
            except InvalidEvent as error:
                # It would become a dead letter of each subscription that receives it.
                facts = {"id": arrival.id, "topic": arrival.key, "refused": str(error)}
                say(facts, as_json=as_json, text=f"{arrival.key}  invalid event, becomes a dead letter: {error}")

        offset = "next" if back is None else history_offset(back + _MARGIN)
        broker.consume(HISTORY, receive, prefetch=_AT_HAND, offset=offset)
        run_until_stopped(broker)


def as_lines(event: Event, found: Sequence[Rehearsal]) -> list[Mapping[str, object]]:
    """Return the report on *event* for programs: one mapping per subscription."""
    facts = {"id": event.id, "time": event.time, "event": event.type, "topic": event.topic}
    return [{**facts, **each.as_dict()} for each in found]


def _as_json(event: Event, found: Sequence[Rehearsal]) -> None:
    for each in as_lines(event, found):
        say(each, as_json=True)


def _for_people(event: Event, found: Sequence[Rehearsal]) -> None:
    facts = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in event.data.items())
    rest = f"  {event.id}  {shortened(facts, _SHOWN)}"
    show(Styled(f"{event.time[:19]} ", "dim"), Styled(event.topic, "bold"), rest)
    # Leave out subscriptions to other events: they would hide the rest.
    fitting = [each for each in found if each.verdict.decision != "pattern"]
    for each in fitting:
        show_one(each)
    if not fitting:
        show(Styled("  no subscription has a pattern for it", "dim"))
