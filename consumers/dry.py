"""`clusterbus consume --dry-run`: what subscriptions would do with events as they come, told and not done.

It reads history, as `tail` does, and no subscription's queue: nothing is taken from any consumer, and the store is not
opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.text import Text

from router.broker import Arrival, Broker
from router.broker.topology import HISTORY
from router.catalogue import Catalogues
from router.command import run_until_stopped, say
from router.errors import InvalidEvent
from router.events import Event
from router.sections import Settings

from . import check
from .knowledge import Knowledge, Knows, asks_for_facts
from .rehearsal import Plan, Rehearsal, rehearse
from .route import show_one
from .subscriptions import Subscription
from .trials import planner

_AT_HAND = 1000
_MARGIN = timedelta(minutes=1)
"""A stream is entered at the beginning of a chunk; earlier only means to skip more."""

_SHOWN = 2000


class DryRun:
    """Tells of each event what each of some subscriptions would do with it."""

    def __init__(
        self,
        plans: Sequence[tuple[Subscription, Plan]],
        tell: Callable[[Event, Sequence[Rehearsal]], None],
        knowledge: Knows | None = None,
    ) -> None:
        """Ask the *plans*, each of its subscription's handler, and *tell* what they come to by what is known now."""
        self._plans, self._tell = plans, tell
        self._knowledge = knowledge if any(asks_for_facts(each) for each, _ in plans) else None
        if self._knowledge:
            self._knowledge.begin()

    def read(self, arrival: Arrival, since: datetime | None) -> None:
        """Tell of the event in *arrival*, unless it happened before *since*; raises InvalidEvent."""
        event = Event.from_json(arrival.body)
        if since is None or event.moment >= since:
            known = self._knowledge.of(event.cluster) if self._knowledge else None
            self._tell(event, [rehearse(subscription, event, plan, known) for subscription, plan in self._plans])


def dry_run(
    broker: Broker,
    settings: Settings,
    paths: Sequence[Path],
    *,
    back: timedelta | None,
    now: datetime,
    as_json: bool,
) -> None:
    """Rehearse the subscriptions in *paths* until a signal ends it: from *back* before *now*, or from now on.

    Raises SubscriptionsError and what `broker.run` raises.
    """
    subscriptions = check.load(paths, Catalogues.shipped(), settings).subscriptions
    with ExitStack() as stack:
        plans = [(each, stack.enter_context(planner(each, settings))) for each in subscriptions]
        tell = _as_json if as_json else _for_people(Console(highlight=False, soft_wrap=True))
        rehearsal = DryRun(plans, tell, Knowledge(settings))

        def receive(arrival: Arrival) -> None:
            try:
                rehearsal.read(arrival, None if back is None else now - back)
            except InvalidEvent as error:
                # It would be a dead letter of each subscription that has it.
                facts = {"id": arrival.id, "topic": arrival.key, "refused": str(error)}
                say(facts, as_json=as_json, text=f"{arrival.key}  is no event, a dead letter: {error}")

        # AMQP's interval is in whole seconds.
        offset = "next" if back is None else f"{int((back + _MARGIN).total_seconds())}s"
        broker.consume(HISTORY, receive, prefetch=_AT_HAND, offset=offset)
        run_until_stopped(broker)


def as_lines(event: Event, found: Sequence[Rehearsal]) -> list[Mapping[str, object]]:
    """Return what is told of *event* to programs: one mapping for each subscription."""
    facts = {"id": event.id, "time": event.time, "event": event.type, "topic": event.topic}
    return [{**facts, **each.as_dict()} for each in found]


def _as_json(event: Event, found: Sequence[Rehearsal]) -> None:
    for each in as_lines(event, found):
        say(each, as_json=True)


def _for_people(console: Console) -> Callable[[Event, Sequence[Rehearsal]], None]:
    def tell(event: Event, found: Sequence[Rehearsal]) -> None:
        facts = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in event.data.items())
        line = Text.assemble((f"{event.time[:19]} ", "dim"), (event.topic, "bold"), f"  {event.id}  {facts[:_SHOWN]}")
        console.print(line)
        # Those whose patterns are of other events would drown the others.
        fitting = [each for each in found if each.verdict.decision != "pattern"]
        for each in fitting:
            show_one(console, each)
        if not fitting:
            console.print(Text("  no subscription is on it", "dim"))

    return tell
