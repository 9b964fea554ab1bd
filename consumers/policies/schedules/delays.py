"""Delays: a delivery waits before its first attempt, and may turn out to be needed no more.  Only decisions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from router.model import durations
from router.model.events import Event
from router.settings.field_types import ONE_OR_SEVERAL, ShortForm, whole

from ...config.event_samples import Kinds, Remark, named
from ...config.field_types import EACH_ONCE, Closed
from ...deliveries import Outcome, Skipped, Waiting
from ...expressions.values import human_texts
from ...expressions.values.alert_values import ALERT
from ..throttling import Interval

RECOVERED: Final = "recovered"
"""The word of a delivery that was needed no more when its delay was over."""

_END: Final = "%Y-%m-%d %H:%M:%S UTC"
_DELAYED: Final = "delayed until "
"""How the reason begins while a delivery waits for the end of its delay."""

_ALARMING: Final = frozenset(("alertOpened", "alertRepeated", "alertReminded", "alertEscalated", "alertFlapping"))
"""The changes of an alert that want somebody to act; the others say how it goes on."""

Unless = Literal["closed", "acknowledged"]


class Delay(Closed):
    """A delivery waits *wait* before its first attempt.

    *unless*: one about an alert that is in such a state by then is skipped, and so is what follows of an alert that
    nobody was notified of.
    """

    wait: Interval
    """How long it waits."""
    unless: Annotated[tuple[Unless, ...], Field(strict=False), EACH_ONCE, ONE_OR_SEVERAL] = ()
    """States of an alert in which nobody needs to be notified any more: `closed`, `acknowledged`."""


def _expanded(value: Any) -> Any:  # noqa: ANN401 - pydantic's
    return {"wait": value} if isinstance(value, str) else value


WrittenDelay = Annotated[Delay, ShortForm(_expanded, {"type": "string", **whole(durations.PATTERN)})]
"""A delay as it is written: its time alone, or with its keys."""


def remarks(raw: object, kinds: Kinds) -> Iterator[Remark]:
    """Yield what is wrong with the delay *raw*, as written, for *kinds* of events."""
    others = [name for name, each in kinds.kinds.items() if each.event_type.category != ALERT]
    if isinstance(raw, dict) and raw.get("unless") and others:
        message = f"{named(others)}: only an alert may be over by then; write a rule below `alerts`, and on: alerts"
        yield Remark(("delay", "unless"), message)


def is_alarming(event: Event) -> bool:
    """Return whether *event* is a change of an alert that wants somebody to act."""
    return event.name in _ALARMING


def first_wait(delay: Delay, event: Event, now: datetime) -> timedelta:
    """Return how long a delivery of *event*, which came *now*, is to wait.

    With `unless`, an alert waits from when it opened, so that a reminder of what is open for long waits no more.

    >>> Delay(wait=timedelta(minutes=10)).wait
    datetime.timedelta(seconds=600)
    """
    if not delay.unless:
        return delay.wait
    if not is_alarming(event):
        return timedelta()
    since = human_texts.parsed(event.data.get("since"))
    return delay.wait if since is None else min(delay.wait, max(timedelta(), since + delay.wait - now))


def waiting(left: timedelta, now: datetime) -> Waiting:
    """Return the outcome of a delivery whose delay goes on for the time that is *left*.

    Its reason keeps the end, a whole second, however often the broker brings the delivery back before.
    """
    end = now + left
    end += timedelta(microseconds=-end.microsecond % 1_000_000)
    return Waiting(end - now, f"{_DELAYED}{end:{_END}}")


def end_of(reason: str) -> datetime | None:
    """Return when a delay ends, by the *reason* of a delivery that waits; None if it waits for something else.

    >>> noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    >>> str(end_of(waiting(timedelta(seconds=0.5), noon).reason)), end_of("the limit is reached")
    ('2026-11-20 12:00:01+00:00', None)
    """
    try:
        return datetime.strptime(reason, f"{_DELAYED}{_END}").replace(tzinfo=UTC)
    except ValueError:
        return None


def unneeded(delay: Delay, event: Event, state: str, *, was_notified: bool) -> Outcome | None:
    """Return the outcome of a delivery about an alert that is in *state* now; None if it is needed.

    *was_notified*: somebody was notified of the alert before, by the same subscription.
    """
    if is_alarming(event):
        if state in delay.unless:
            return Skipped(RECOVERED, f"the alert was {state} within {durations.text(delay.wait)}")
        return None
    return None if was_notified else Skipped(RECOVERED, "it goes on with an alert that nobody was notified of")
