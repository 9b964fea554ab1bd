"""The threads that call handlers, one delivery at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from threading import Event as Flag

from router.broker.interface import Broker

from ...deliveries import DeadLetter, Delivery, Outcome, Retry, Skipped, Waiting, bounded
from ...expressions.filters import Filter, shown_values
from ...expressions.templates import Template
from ...policies.enrichment import with_meta
from ...policies.guards import Guard
from ...policies.retry import attempt, raised
from ...processes import child_process
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ...verbs.run.local import facts
from ..active_subscription import ActiveSubscription, Called
from ..in_flight import InFlight
from ..states import Admitted, Ended, Running

_GRACE = timedelta(seconds=2)
_OUTPUT = 4096

_LONGEST = timedelta(days=31)
"""A delay that fits every table and every sum."""

_TURN, _FROZEN = timedelta(seconds=2), timedelta(seconds=10)
"""How often the broker's thread shows that it runs, and after how long without that this machine was frozen.

The second is less than the broker waits for a heartbeat before it gives our messages to another consumer.
"""


class Workers:
    """Calls handlers in the threads of their subscriptions; every other method runs in the broker's thread."""

    def __init__(
        self,
        broker: Broker,
        clock: Callable[[], datetime],
        stopping: Flag,
        *,
        ended: Callable[[InFlight, Ended], None],
        broken_off: Callable[[InFlight], None],
        prefetch_changed: Callable[[ActiveSubscription], None],
    ) -> None:
        """Call *ended* for each delivery that has an outcome, *broken_off* for each that is left without one.

        A stop may do that to it; or this machine was frozen just before its handler would have been called, and another
        consumer may have called it since.  *prefetch_changed* is called with a subscription whose prefetch differs from
        now on.
        """
        self._broker, self._clock, self._stopping = broker, clock, stopping
        self._ended, self._broken_off, self._prefetch_changed = ended, broken_off, prefetch_changed
        self._called: deque[tuple[InFlight, Called, datetime, datetime, Outcome | None]] = deque()
        self._is_collecting = False
        self._turned = self._thawed = clock()
        broker.later(_TURN, self._turn)

    def _turn(self) -> None:
        now = self._clock()
        if now - self._turned > _FROZEN:
            self._thawed = now
        self._turned = now
        self._broker.later(_TURN, self._turn)

    def submit(self, in_flight: InFlight, admitted: Admitted) -> Running:
        """Call the handler as soon as one of its threads is free."""
        way = in_flight.subscription.way
        assert isinstance(way, Called)  # noqa: S101 - for the reader: logs are written before
        called = self._clock()
        return admitted.run(way.pool.submit(partial(self._call, in_flight, admitted.delivery, way, called)), called)

    def _call(self, in_flight: InFlight, delivery: Delivery, way: Called, called: datetime) -> None:
        """Call the handler, in a thread of its subscription; the outcome goes to the broker's thread."""
        started = self._clock()
        subscription, outcome = in_flight.subscription, None
        if called >= self._thawed and started - max(called, self._turned) <= _FROZEN:
            outcome = self._outcome(subscription, delivery, way)
        self._called.append((in_flight, way, started, self._clock(), outcome))
        if not self._is_collecting:
            # Once for many: each call of the broker's thread is a system call.
            self._is_collecting = True
            self._broker.call(self._collect)

    def _outcome(self, subscription: ActiveSubscription, delivery: Delivery, way: Called) -> Outcome | None:
        try:
            whole = subscription.enriched(delivery)
        except Exception as error:  # noqa: BLE001 - the delivery would wait for its outcome for ever
            return raised(delivery, error, subscription.definition.retry)
        return call(whole, way.handler, subscription.definition, self._stopping)

    def _collect(self) -> None:
        # First: what is appended from here on is either seen below, or asks for another call.
        self._is_collecting = False
        while self._called:
            in_flight, way, started, ended, outcome = self._called.popleft()
            if outcome is None:
                self._broken_off(in_flight)
                continue
            running = in_flight.state
            assert isinstance(running, Running)  # noqa: S101 - for the reader: what has begun cannot be taken back
            self._ended(in_flight, running.end(outcome, started, ended))
            if way.note(ended - started):
                self._prefetch_changed(in_flight.subscription)


def call(delivery: Delivery, handler: Handler, subscription: Subscription, stopping: Flag) -> Outcome | None:
    """Return the outcome of the attempt; None where a stop broke it off.

    The guard is checked right before.  In mode `shadow` everything happens but the effect.  Never raises, whatever the
    handler does, since the delivery would wait for its outcome for ever.
    """
    outcome = _called(delivery, handler, subscription, stopping)
    return with_meta(outcome, subscription.meta) if outcome is not None else None


def _called(delivery: Delivery, handler: Handler, subscription: Subscription, stopping: Flag) -> Outcome | None:
    guard = subscription.guard
    try:
        if guard and guard.only_when and (refused := _check_expression(delivery, guard.only_when)):
            return refused
        if guard and guard.only_if and (refused := _check_command(handler.prepared(delivery), guard, stopping)):
            return refused
        if subscription.mode == "shadow":
            return Skipped("shadow", "mode is shadow", {"would": dict(handler.plan(delivery))})
        return _sound(attempt(delivery, handler, subscription.retry))
    except _BrokenOff:
        return None
    except BaseException as error:  # noqa: BLE001 - also where a handler returns no report
        return raised(delivery, error, subscription.retry)


class _BrokenOff(Exception):
    """A stop ended the command of the guard: nothing is known yet, so the delivery stays as it is."""


def _sound(outcome: Outcome | None) -> Outcome | None:
    """Return *outcome* with values that the store and the settlement can rely on, whatever the handler put into it."""
    if outcome is not None and not isinstance(outcome.result, Mapping):
        outcome = replace(outcome, result={"result": outcome.result})
    match outcome:
        case Retry() | DeadLetter():
            outcome = replace(outcome, blamed=tuple(str(each) for each in outcome.blamed))
        case Waiting():
            # The store takes what has a result for begun, and what has none for waiting at a gate.
            delay = max(timedelta(), min(outcome.delay, _LONGEST))
            outcome = replace(outcome, delay=delay, result=outcome.result or {"again": True})
    if isinstance(outcome, Retry):
        outcome = replace(outcome, delay=min(outcome.delay, _LONGEST))
    return outcome


@lru_cache(maxsize=256)
def _templates(words: tuple[str, ...]) -> list[Template]:
    return [Template(each) for each in words]


@lru_cache(maxsize=256)
def _filter(text: str) -> Filter:
    return Filter(text)


def _check_expression(delivery: Delivery, only_when: str) -> Outcome | None:
    """Return the outcome where *only_when* is not true of the event and the present facts; None where it is."""
    asked = _filter(only_when)
    verdict = asked.matches(delivery.event, delivery.known)
    if verdict.matched:
        return None
    how = f"cannot be evaluated: {verdict.reason}" if verdict.reason else "is false"
    read = shown_values(asked, delivery.event, delivery.known)
    return Skipped("guarded", bounded(f"only_when {how}: {only_when}{read}"), {"check": only_when})


def _check_command(delivery: Delivery, guard: Guard, stopping: Flag) -> Outcome | None:
    """Return the outcome where the command `only_if` fails; None where it succeeds.  Raises _BrokenOff on a stop."""
    assert guard.only_if is not None  # noqa: S101 - for the reader: the guard has it
    words = [each.render(delivery) for each in _templates(guard.only_if)]
    command = child_process.Command(
        words=words,
        environment={**child_process.ENVIRONMENT, **facts(delivery)},
        mark=f"{delivery.mark}.check",
        timeout=guard.timeout,
        grace=_GRACE,
        output=_OUTPUT,
    )
    ended = child_process.run(command, delivery.to_json(), stopping)
    if ended.was_interrupted:
        raise _BrokenOff
    if ended.code == 0 and not ended.timed_out:
        return None
    output = ended.output.decode("utf-8", "replace").strip()
    how = "timed out" if ended.timed_out else f"failed (exit code {ended.code})"
    return Skipped("guarded", bounded(f"{words[0]} {how}{': ' if output else ''}{output[-500:]}"), {"check": words})
