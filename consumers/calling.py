"""To call a handler for one delivery, or in rehearsal not to: in a thread of its subscription's."""

from __future__ import annotations

from datetime import timedelta
from threading import Event as Flag

from . import processes
from .deliveries import Delivery, Outcome, Skipped, attempt, bounded, raised
from .errors import Rejected
from .guards import Guard
from .subscriptions import Subscription
from .templates import Template
from .verbs import Handler
from .verbs.run.command import PATH, facts

_GRACE = timedelta(seconds=2)
_OUTPUT = 4096


def call(delivery: Delivery, handler: Handler, subscription: Subscription, stopping: Flag) -> Outcome | None:
    """Return what the attempt comes to; None where it was broken off by a stop.

    A guard's check is run right before.  In mode `shadow` all but the effect happens.
    """
    guard = subscription.guard
    try:
        if guard and guard.only_if and (refused := _check(delivery, guard, stopping)):
            return refused
        if subscription.mode == "shadow":
            return Skipped("shadow", "mode is shadow", {"would": dict(handler.plan(delivery))})
    except (Rejected, OSError) as error:
        return raised(delivery, error, subscription.retry)
    return attempt(delivery, handler, subscription.retry)


def _check(delivery: Delivery, guard: Guard, stopping: Flag) -> Outcome | None:
    """Return that the check says no; None where it succeeded."""
    assert guard.only_if is not None  # noqa: S101 - for the reader: it was asked for
    words = [Template(each).render(delivery) for each in guard.only_if]
    command = processes.Command(
        words=words,
        environment={"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/", **facts(delivery)},
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
