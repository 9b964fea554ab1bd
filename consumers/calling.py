"""To call a handler for one delivery, or in rehearsal not to: in a thread of its subscription's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from threading import Event as Flag

from . import processes
from .deliveries import DeadLetter, Delivery, Outcome, Retry, Skipped, Waiting, attempt, bounded, raised
from .filters import Filter, told
from .guards import Guard
from .subscriptions import Subscription
from .templates import Template
from .verbs import Handler
from .verbs.run.command import facts

_GRACE = timedelta(seconds=2)
_OUTPUT = 4096

_LONGEST = timedelta(days=31)
"""A delay that fits every table and every sum."""


def call(delivery: Delivery, handler: Handler, subscription: Subscription, stopping: Flag) -> Outcome | None:
    """Return what the attempt comes to; None where it was broken off by a stop.

    A guard is asked right before.  In mode `shadow` all but the effect happens.  Never raises, whatever the
    handler does: who calls it would wait for its outcome for ever.
    """
    guard = subscription.guard
    try:
        if guard and guard.only_when and (refused := _ask(delivery, guard.only_when)):
            return refused
        if guard and guard.only_if and (refused := _check(delivery, guard, stopping)):
            return refused
        if subscription.mode == "shadow":
            return Skipped("shadow", "mode is shadow", {"would": dict(handler.plan(delivery))})
        return _sound(attempt(delivery, handler, subscription.retry))
    except BaseException as error:  # noqa: BLE001 - also of a report that is none
        return raised(delivery, error, subscription.retry)


def _sound(outcome: Outcome | None) -> Outcome | None:
    """Return *outcome* with what the store and those that act on it rely on, whatever the handler has put into it."""
    if outcome is not None and not isinstance(outcome.result, Mapping):
        outcome = replace(outcome, result={"result": outcome.result})
    match outcome:
        case Retry() | DeadLetter():
            outcome = replace(outcome, blamed=tuple(str(each) for each in outcome.blamed))
        case Waiting():
            # A result tells what was begun from what only waits.
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


def _ask(delivery: Delivery, only_when: str) -> Outcome | None:
    """Return that *only_when* is not true of the event and what is known now; None where it is."""
    asked = _filter(only_when)
    verdict = asked.matches(delivery.event, delivery.known)
    if verdict.matched:
        return None
    how = f"cannot be evaluated: {verdict.reason}" if verdict.reason else "is false"
    read = told(asked, delivery.event, delivery.known)
    return Skipped("guarded", bounded(f"only_when {how}: {only_when}{read}"), {"check": only_when})


def _check(delivery: Delivery, guard: Guard, stopping: Flag) -> Outcome | None:
    """Return that the check says no; None where it succeeded."""
    assert guard.only_if is not None  # noqa: S101 - for the reader: it was asked for
    words = [each.render(delivery) for each in _templates(guard.only_if)]
    command = processes.Command(
        words=words,
        environment={"PATH": processes.PATH, "LANG": "C.UTF-8", "HOME": "/", **facts(delivery)},
        mark=f"{delivery.mark}.check",
        timeout=guard.timeout,
        grace=_GRACE,
        output=_OUTPUT,
    )
    ended = processes.run(command, delivery.event.to_json(), stopping)
    if ended.code == 0 and not ended.timed_out:
        return None
    said = ended.output.decode("utf-8", "replace").strip()
    how = "was not through in time" if ended.timed_out else f"said no (exit code {ended.code})"
    return Skipped("guarded", bounded(f"{words[0]} {how}{': ' if said else ''}{said[-500:]}"), {"check": words})
