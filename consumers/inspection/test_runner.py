"""Runs the tests inside subscriptions with made-up events on a simulated clock.  It calls nothing.

The functions that decide on folds and limits are those of the consumer.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

from router.cluster.facts.views import Known
from router.errors import UnknownEvent, UnknownVariable
from router.model.event_words import named
from router.model.events import Event
from router.settings.models import Settings

from ..config.event_samples import Remark
from ..config.registrations import Registrations
from ..config.synthetic_events import of_severity, synthetic_event
from ..deliveries import Delivery, Waiting
from ..errors import ConsumerError, Rejected, SubscriptionsError, SyntheticEventError
from ..expressions.filters import Filter
from ..policies.enrichment import enriched
from ..policies.group_keys import key_of
from ..policies.throttling import Gathered, rates
from ..subscriptions.actions.action_use import unguarded
from ..subscriptions.models import Subscription
from ..subscriptions.test_cases import Expectation, Given
from ..verbs.interface import Handler, Surroundings
from .dry_run import Plan, consider, does

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The time at which the clock of a test starts, unless the test sets it."""

_MOST_STEPS = 200_000
_SHOWN = 300


class CannotRunHere(Exception):
    """A test that cannot run on this machine, because the handler cannot be created here."""


def try_all(
    tests: Sequence[Expectation], subscription: Subscription, registrations: Registrations, settings: Settings
) -> Iterator[Remark]:
    """Run *tests*; yield a remark for each that fails, and a warning for each that cannot run on this machine.

    An event without variables in a test has those that *registrations* pass.
    """
    if not tests:
        return
    with planner(subscription, settings) as plan:
        for at, test in enumerate(tests):
            try:
                wrong = tried(test, subscription, registrations, plan)
            except CannotRunHere as error:
                yield Remark((at,), f"cannot run on this machine: {error}", warning=True)
                continue
            if wrong:
                yield Remark((at,), wrong)


@contextmanager
def planner(subscription: Subscription, settings: Settings) -> Iterator[Plan]:
    """Give the plan of the handler of *subscription*, created by the first call, which raises why it cannot be."""

    @cache
    def handler() -> Handler:
        action = partial(unguarded, settings)
        where = Surroundings(
            subscription.name, settings=settings, file=subscription.file, line=subscription.line, action=action
        )
        try:
            return subscription.verb.handler(where)
        except SubscriptionsError as error:
            raise ConsumerError("; ".join(each.message for each in error.mistakes)) from error

    try:
        yield lambda delivery: handler().plan(delivery)
    finally:
        if handler.cache_info().currsize:
            handler().close()


def tried(test: Expectation, subscription: Subscription, registrations: Registrations, plan: Plan) -> str:
    """Run *test*; return the expected and the actual result if they differ, otherwise an empty text.

    Raises CannotRunHere if *plan*, the handler's, cannot determine the effect on this machine.
    """
    if wrong := _unknown_word(test.expect.word, subscription.kind):
        return wrong
    try:
        events = list(_events(test.given, registrations))
    except (UnknownEvent, UnknownVariable, SyntheticEventError) as error:
        return f"given: {error}"
    simulation = Simulation(_live(subscription), test.known)
    for moment, event in events:
        simulation.arrive(event, moment)
    simulation.run()
    return _compare(test, subscription.kind, simulation, plan)


def _live(subscription: Subscription) -> Subscription:
    """Return *subscription* in mode `live`: a test checks its rules, whatever its current mode."""
    return subscription.model_copy(update={"mode": "live"})


def _events(given: Sequence[Given], registrations: Registrations) -> Iterator[tuple[datetime, Event]]:
    now = START
    for each in given:
        event_type = named(each.event, registrations.catalogues)
        now = each.at or now
        for time in range(each.times):
            if time and each.every:
                now += each.every
            place: dict[str, Any] = {"moment": now, "node": each.node, "cluster": each.cluster}
            made = synthetic_event(event_type, each.data, registrations, **place)
            yield now, of_severity(made, each.severity, event_type)


@dataclass(order=True, slots=True)
class _Step:
    moment: datetime
    serial: int
    delivery: Delivery = field(compare=False)
    skips_fold: bool = field(compare=False, default=False)


class Simulation:
    """Events on their way through one subscription's pattern, filter and rules, on a clock of its own.

    `delivered` has the deliveries that reach the handler, with their times; `kept_back` the reasons for the others.
    """

    def __init__(self, subscription: Subscription, known: Known | None = None) -> None:
        """Begin without events; the facts *known* of the cluster stay the same during the test."""
        self._known = known
        only_when = subscription.guard and subscription.guard.only_when
        self._only_when = Filter(only_when) if only_when else None
        self.delivered: list[tuple[datetime, Delivery]] = []
        self.kept_back: list[str] = []
        self._subscription = subscription
        self._rates = rates(subscription.once_per, subscription.limit)
        self._passed: dict[tuple[str, str], dict[str, datetime]] = defaultdict(dict)
        self._gathered: dict[str, Gathered] = {}
        self._delivered_at: dict[str, datetime] = {}
        self._steps: list[_Step] = []
        self._serial = 0

    def arrive(self, event: Event, moment: datetime) -> None:
        """Let *event* arrive at *moment*."""
        delivery = Delivery(event, self._subscription.name, event.topic, b"", known=self._known)
        self._put(moment, enriched(delivery, self._subscription.facts, self._subscription.meta))

    def run(self) -> None:
        """Run the clock until no step is left."""
        for _ in range(_MOST_STEPS):
            if not self._steps:
                return
            step = heapq.heappop(self._steps)
            if step.skips_fold or not self._subscription.fold:
                self._pass(step)
            else:
                self._fold(step)
        self.kept_back += ["it waits longer than a test can simulate"] * len(self._steps)

    def _put(self, moment: datetime, delivery: Delivery, *, skips_fold: bool = False) -> None:
        self._serial += 1
        heapq.heappush(self._steps, _Step(moment, self._serial, delivery, skips_fold))

    def _fold(self, step: _Step) -> None:
        folding = self._subscription.fold
        event = step.delivery.event
        verdict = consider(self._subscription, event, event.topic, self._known)
        if not verdict.matched or folding is None:
            self.kept_back.append(verdict.because)
            return
        key = key_of(event, folding.by)
        gathered = self._gathered.get(key)
        if gathered is None:
            gathered = Gathered(event.id, folding.due(step.moment, self._delivered_at.get(key)))
            self._put(gathered.due, step.delivery, skips_fold=True)
        else:
            self.kept_back.append("it is folded into another event's group")
        self._gathered[key] = gathered.with_event(event)

    def _pass(self, step: _Step) -> None:
        event, now = step.delivery.event, step.moment
        delivery = step.delivery
        if self._subscription.fold:
            # Events that arrive while this group waits belong to the next group.
            key = key_of(event, self._subscription.fold.by)
            if delivery.folded is None and (gathered := self._gathered.pop(key, None)):
                self._delivered_at[key] = now
                delivery = replace(delivery, folded=gathered.fold)
        else:
            verdict = consider(self._subscription, event, event.topic, self._known)
            if not verdict.matched:
                self.kept_back.append(verdict.because)
                return
        for rule in self._rates:
            passed = self._passed[rule.word, key_of(event, rule.by)]
            if event.id in passed:
                # It passed this rule already, and has waited for another rule since.
                continue
            outcome = rule.decide(list(passed.values()), now)
            if isinstance(outcome, Waiting):
                self._put(now + max(outcome.delay, timedelta(microseconds=1)), delivery, skips_fold=True)
                return
            if outcome is not None:
                self.kept_back.append(str(getattr(outcome, "reason", outcome)))
                return
            passed[event.id] = now
        if self._only_when and not (asked := self._only_when.matches(event, self._known)).matched:
            self.kept_back.append(f"only_when {asked.reason or 'is false'}: {self._only_when.text}")
            return
        self.delivered.append((now, delivery))


def _unknown_word(word: str | None, kind: str) -> str:
    known = ("delivered", "not-delivered", "rejected", does(kind))
    return "" if word is None or word in known else f"expect: unknown word {word!r}: write one of {', '.join(known)}"


def _compare(test: Expectation, kind: str, simulation: Simulation, plan: Plan) -> str:
    expect, count = test.expect, len(simulation.delivered)
    if expect.deliveries is not None and count != expect.deliveries:
        why = f" ({'; '.join(dict.fromkeys(simulation.kept_back))[:_SHOWN]})" if simulation.kept_back else ""
        return f"expected {expect.deliveries} deliveries, got {count}{why}"
    if expect.word is None and expect.effect is None:
        return ""
    if expect.word == "not-delivered":
        return f"expected not-delivered, but it {does(kind)}: {_planned(plan, simulation)}" if count else ""
    return _compare_effect(test, kind, simulation, plan)


def _compare_effect(test: Expectation, kind: str, simulation: Simulation, plan: Plan) -> str:
    expect = test.expect
    wanted = expect.word or "an effect"
    if not simulation.delivered:
        why = "; ".join(dict.fromkeys(simulation.kept_back))[:_SHOWN]
        return f"expected {wanted}, but the event is not delivered: {why}"
    effect, refused = _effect(plan, simulation.delivered[0][1])
    if expect.word == "rejected":
        return "" if refused else f"expected rejected, but it {does(kind)}: {_shown(effect)}"
    if refused:
        return f"expected {wanted}, but the delivery is rejected: {refused}"
    return _differs(expect.effect or {}, effect)


def _differs(wanted: Mapping[str, object], effect: Mapping[str, object]) -> str:
    for name, value in wanted.items():
        if name not in effect:
            return f"expected the effect {name}: {_shown(value)}, but the effect has {', '.join(effect) or 'nothing'}"
        if not _within(value, effect[name]):
            return f"expected the effect {name}: {_shown(value)}, but {name} is {_shown(effect[name])}"
    return ""


def _within(wanted: object, there: object) -> bool:
    """Return whether *there* contains everything in *wanted*; lists must be equal."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return all(name in there and _within(value, there[name]) for name, value in wanted.items())
    return wanted == there


def _effect(plan: Plan, delivery: Delivery) -> tuple[Mapping[str, object], str]:
    """Return the effect as recorded, after a round trip through JSON; or the reason for a rejection."""
    whole = replace(delivery, body=delivery.event.to_json())
    try:
        effect: Mapping[str, object] = json.loads(json.dumps(plan(whole), default=str))
    except Rejected as error:
        return {}, str(error)
    except ConsumerError as error:
        raise CannotRunHere(str(error)) from error
    return effect, ""


def _planned(plan: Plan, simulation: Simulation) -> str:
    try:
        effect, refused = _effect(plan, simulation.delivered[0][1])
    except CannotRunHere:
        return "this machine cannot determine the effect"
    return f"and is rejected: {refused}" if refused else _shown(effect)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
