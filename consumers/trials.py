"""Trying the tests inside subscriptions: events that have not happened, a clock that is only told, nothing called.

What folds, limits and the like would let pass is decided by the same functions as in the consumer.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from router.catalogue import Catalogues
from router.events import Event
from router.facts import Known
from router.sections import Settings

from .deliveries import Delivery, Waiting
from .errors import ConsumerError, OccasionError, Rejected, SubscriptionsError
from .expectations import Expectation, Given
from .filters import Filter
from .groupings import key_of
from .kinds import Remark
from .occasions import imagine, named
from .rehearsal import Plan, consider, does
from .storms import Gathered, rates
from .subscriptions import Subscription
from .verbs import Handler, Surroundings

START = datetime(2026, 1, 1, tzinfo=UTC)
"""Where the clock of a test begins, unless it says."""

_MOST_STEPS = 200_000
_SHOWN = 300


class Untried(Exception):
    """What this machine can't try: the handler could not be made here."""


def try_all(
    tests: Sequence[Expectation], subscription: Subscription, catalogues: Catalogues, settings: Settings
) -> Iterator[Remark]:
    """Yield what is to be said of *tests*, each at its number; what this machine can't try is a warning."""
    if not tests:
        return
    with planner(subscription, settings) as plan:
        for at, test in enumerate(tests):
            try:
                wrong = tried(test, subscription, catalogues, plan)
            except Untried as error:
                yield Remark((at,), f"can't be tried on this machine: {error}", warning=True)
                continue
            if wrong:
                yield Remark((at,), wrong)


@contextmanager
def planner(subscription: Subscription, settings: Settings) -> Iterator[Plan]:
    """Give the plan of the handler of *subscription*; where that can't be made here, each call raises why."""
    handler: Handler | None = None
    failure = ""
    try:
        handler = subscription.verb.handler(
            Surroundings(subscription.name, settings=settings, file=subscription.file, line=subscription.line)
        )
    except SubscriptionsError as error:
        failure = "; ".join(each.message for each in error.mistakes)

    def plan(delivery: Delivery) -> Mapping[str, object]:
        if handler is None:
            raise ConsumerError(failure)
        return handler.plan(delivery)

    try:
        yield plan
    finally:
        if handler is not None:
            handler.close()


def tried(test: Expectation, subscription: Subscription, catalogues: Catalogues, plan: Plan) -> str:
    """Try *test*; return what was expected and what came instead, or nothing where it came.

    Raises Untried where *plan*, the handler's, can't tell the effect on this machine.
    """
    if wrong := _unknown_word(test.expect.word, subscription.kind):
        return wrong
    try:
        events = list(_events(test.given, catalogues))
    except OccasionError as error:
        return f"given: {error}"
    passage = Passage(_live(subscription), test.known)
    for moment, event in events:
        passage.arrive(event, moment)
    passage.run()
    return _compare(test, subscription.kind, passage, plan)


def _live(subscription: Subscription) -> Subscription:
    """Return *subscription* as if it were live: a test is of its rules, whatever is switched off for now."""
    return subscription.model_copy(update={"mode": "live"})


def _events(given: Sequence[Given], catalogues: Catalogues) -> Iterator[tuple[datetime, Event]]:
    now = START
    for each in given:
        event_type = named(each.event, catalogues)
        now = each.at or now
        for time in range(each.times):
            if time and each.every:
                now += each.every
            yield now, imagine(event_type, each.data, catalogues, moment=now, node=each.node, cluster=each.cluster)


@dataclass(order=True, slots=True)
class _Step:
    moment: datetime
    serial: int
    delivery: Delivery = field(compare=False)
    is_told: bool = field(compare=False, default=False)


class Passage:
    """The way of events through one subscription's pattern, filter and rules, on a clock of its own.

    `delivered` is what its handler would be called with, and when; `kept_back` why the others would not come to it.
    """

    def __init__(self, subscription: Subscription, known: Known | None = None) -> None:
        """Let nothing have passed yet; *known* is what is known of the cluster, all the time."""
        self._known = known
        only_when = subscription.guard and subscription.guard.only_when
        self._only_when = Filter(only_when) if only_when else None
        self.delivered: list[tuple[datetime, Delivery]] = []
        self.kept_back: list[str] = []
        self._subscription = subscription
        self._rates = rates(subscription.once_per, subscription.limit)
        self._passed: dict[tuple[str, str], dict[str, datetime]] = defaultdict(dict)
        self._gathered: dict[str, Gathered] = {}
        self._told: dict[str, datetime] = {}
        self._steps: list[_Step] = []
        self._serial = 0

    def arrive(self, event: Event, moment: datetime) -> None:
        """Have *event* arrive at *moment*."""
        self._put(moment, Delivery(event, self._subscription.name, event.topic, b"", known=self._known))

    def run(self) -> None:
        """Let the clock run until nothing is left to happen."""
        for _ in range(_MOST_STEPS):
            if not self._steps:
                return
            step = heapq.heappop(self._steps)
            if step.is_told or not self._subscription.fold:
                self._pass(step)
            else:
                self._fold(step)
        self.kept_back += ["it waits for longer than a test can"] * len(self._steps)

    def _put(self, moment: datetime, delivery: Delivery, *, is_told: bool = False) -> None:
        self._serial += 1
        heapq.heappush(self._steps, _Step(moment, self._serial, delivery, is_told))

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
            gathered = Gathered(event.id, folding.due(step.moment, self._told.get(key)))
            self._put(gathered.due, step.delivery, is_told=True)
        else:
            self.kept_back.append("it is folded into another")
        self._gathered[key] = gathered.with_event(event)

    def _pass(self, step: _Step) -> None:
        event, now = step.delivery.event, step.moment
        delivery = step.delivery
        if self._subscription.fold:
            # What comes while this one waits for its turn is another fold's.
            key = key_of(event, self._subscription.fold.by)
            if delivery.folded is None and (gathered := self._gathered.pop(key, None)):
                self._told[key] = now
                delivery = replace(delivery, folded=gathered.fold)
        else:
            verdict = consider(self._subscription, event, event.topic, self._known)
            if not verdict.matched:
                self.kept_back.append(verdict.because)
                return
        for rule in self._rates:
            passed = self._passed[rule.word, key_of(event, rule.by)]
            if event.id in passed:
                # It has passed, and waited for another rule since.
                continue
            outcome = rule.decide(list(passed.values()), now)
            if isinstance(outcome, Waiting):
                self._put(now + max(outcome.delay, timedelta(microseconds=1)), delivery, is_told=True)
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
    return "" if word is None or word in known else f"expect: {word!r} is none of {', '.join(known)}"


def _compare(test: Expectation, kind: str, passage: Passage, plan: Plan) -> str:
    expect, count = test.expect, len(passage.delivered)
    if expect.deliveries is not None and count != expect.deliveries:
        why = f" ({'; '.join(dict.fromkeys(passage.kept_back))[:_SHOWN]})" if passage.kept_back else ""
        return f"expected {expect.deliveries} deliveries, {count} came{why}"
    if expect.word is None and expect.effect is None:
        return ""
    if expect.word == "not-delivered":
        return f"expected not-delivered, but it {does(kind)}: {_planned(plan, passage)}" if count else ""
    return _compare_effect(test, kind, passage, plan)


def _compare_effect(test: Expectation, kind: str, passage: Passage, plan: Plan) -> str:
    expect = test.expect
    wanted = expect.word or "an effect"
    if not passage.delivered:
        why = "; ".join(dict.fromkeys(passage.kept_back))[:_SHOWN]
        return f"expected {wanted}, but it is not delivered: {why}"
    effect, refused = _effect(plan, passage.delivered[0][1])
    if expect.word == "rejected":
        return "" if refused else f"expected rejected, but it {does(kind)}: {_shown(effect)}"
    if refused:
        return f"expected {wanted}, but it is rejected: {refused}"
    return _differs(expect.effect or {}, effect)


def _differs(wanted: Mapping[str, object], effect: Mapping[str, object]) -> str:
    for name, value in wanted.items():
        if name not in effect:
            return f"expected the effect {name}: {_shown(value)}, but there is {', '.join(effect) or 'none'}"
        if not _within(value, effect[name]):
            return f"expected the effect {name}: {_shown(value)}, but {name} is {_shown(effect[name])}"
    return ""


def _within(wanted: object, there: object) -> bool:
    """Say whether *there* has all that is *wanted*; lists are compared whole."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return all(name in there and _within(value, there[name]) for name, value in wanted.items())
    return wanted == there


def _effect(plan: Plan, delivery: Delivery) -> tuple[Mapping[str, object], str]:
    """Return the effect through JSON, as it is recorded; or why it is refused."""
    whole = replace(delivery, body=delivery.event.to_json())
    try:
        effect: Mapping[str, object] = json.loads(json.dumps(plan(whole), default=str))
    except Rejected as error:
        return {}, str(error)
    except ConsumerError as error:
        raise Untried(str(error)) from error
    return effect, ""


def _planned(plan: Plan, passage: Passage) -> str:
    try:
        effect, refused = _effect(plan, passage.delivered[0][1])
    except Untried:
        return "what exactly, this machine can't tell"
    return f"and is rejected: {refused}" if refused else _shown(effect)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
