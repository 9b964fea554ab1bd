"""When a failed delivery is attempted again.  No clock and no broker: only arithmetic.

The policy computes a delay.  The broker has one wait queue for each retry step, such as 5s, and a delivery waits on
the shortest step that is at least as long as the delay.
"""

import re
from datetime import timedelta
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from router.broker.topology import RETRY_STEPS
from router.model import durations
from router.settings.field_types import matching

from ..config.field_types import Duration
from ..deliveries import Call, DeadLetter, Delivery, Done, Outcome, Report, Retry, Waiting, bounded
from ..errors import Rejected

LONGEST = max(RETRY_STEPS.values())
"""The longest delay of a retry."""

_FAILURE = re.compile(
    r"exit(:(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[0-9][0-9]?))?|signal(:[0-9][0-9]?)?|timeout|http(:[1-5][0-9][0-9])?"
    r"|connect|notify|unreachable|login|nodes|several|lost|[A-Z][A-Za-z0-9_]*"
)


def _not_too_long(value: timedelta) -> timedelta:
    if value > LONGEST:
        raise ValueError(f"the broker's longest wait is {durations.text(LONGEST)}")
    return value


_WORDS = "exit:64, exit, signal:9, signal, timeout, http:503, http, connect, notify, unreachable, login, nodes, several"
Failure = Annotated[
    str,
    matching(_FAILURE.pattern, f"is not a failure: write {_WORDS}, lost or the name of an exception such as OSError"),
]


def kind_of(failure: str) -> str:
    """Return the kind of *failure*; empty for the name of an exception, and for what is not a failure.

    >>> kind_of("exit:64"), kind_of("several"), kind_of("OSError")
    ('exit', 'several', '')
    """
    return failure.partition(":")[0] if _FAILURE.fullmatch(failure) and not failure[0].isupper() else ""


class RetryPolicy(BaseModel):
    """How often a delivery is attempted, and how long to wait in between.

    *never_for* lists failures that are not retried: `exit:64` is one exit code, `exit` every exit code, `OSError` an
    exception that a handler raised.  *only_for* lists the only failures that are retried.  After the last attempt the
    delivery is also passed to the subscription *then*.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    attempts: int = Field(default=8, ge=1, le=100)
    """How many attempts there are, the first included."""
    first: Duration = timedelta(seconds=5)
    """The delay after the first attempt."""
    growth: float = Field(default=3, ge=1, le=10)
    """The factor by which each delay is longer than the one before."""
    longest: Annotated[Duration, AfterValidator(_not_too_long)] = timedelta(hours=1)
    """The longest delay, at most 6h."""
    never_for: tuple[Failure, ...] = Field(default=(), strict=False)
    only_for: tuple[Failure, ...] = Field(default=(), strict=False)
    then: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.longest < self.first:
            longest, first = durations.text(self.longest), durations.text(self.first)
            raise ValueError(f"longest ({longest}) is shorter than first ({first})")
        return self

    def delay_after(self, attempt: int, failure: str = "") -> timedelta | None:
        """Return the delay after failed *attempt* (the first is 1), or None if it or this *failure* is not retried.

        >>> RetryPolicy(attempts=3).delay_after(2)
        datetime.timedelta(seconds=15)
        >>> RetryPolicy(never_for=("exit:64",)).delay_after(1, "exit:64")
        >>> RetryPolicy(only_for=("timeout",)).delay_after(1, "exit:64")
        """
        if attempt >= self.attempts or not self._is_retried(failure):
            return None
        # Capped as a float: a timedelta of the uncapped value could overflow.
        seconds = self.first.total_seconds() * self.growth ** (attempt - 1)
        return timedelta(seconds=min(seconds, self.longest.total_seconds()))

    def _is_retried(self, failure: str) -> bool:
        if not failure:
            return True
        words = {failure, failure.partition(":")[0]}
        return not words.intersection(self.never_for) and (not self.only_for or bool(words.intersection(self.only_for)))

    def schedule(self) -> tuple[str, ...]:
        """Return the retry steps that a delivery waits on, one after each failed attempt but the last.

        >>> RetryPolicy(attempts=5).schedule()
        ('5s', '15s', '1m', '5m')
        """
        delays = (self.delay_after(attempt) for attempt in range(1, self.attempts))
        return tuple(step_for(each) for each in delays if each is not None)


def attempt(delivery: Delivery, handler: Call, policy: RetryPolicy) -> Outcome | None:
    """Call *handler* once and return the outcome of *delivery*, or None if the handler was interrupted."""
    try:
        report = handler(delivery)
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt of a handler are its failure too
        return raised(delivery, error, policy)
    return None if report is None else decide(delivery.attempt, report, policy)


def raised(delivery: Delivery, error: BaseException, policy: RetryPolicy) -> Outcome:
    """Return the outcome of an attempt that raised *error*; the name of its class is the failure."""
    if isinstance(error, Rejected):
        return DeadLetter(bounded(str(error)), error.result)
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the class of the error may be any program's
        text = "(has no text)"
    return decide(delivery.attempt, Report(name, f"{name}: {text}"), policy)


def decide(attempt: int, report: Report, policy: RetryPolicy) -> Outcome:
    """Return the outcome of the *attempt*-th attempt that ended with *report*.

    >>> decide(1, Report(result={"exit": 0}), RetryPolicy())
    Done(result={'exit': 0}, reason='')
    >>> decide(1, Report("exit:1", "exit code 1"), RetryPolicy(attempts=1))
    DeadLetter(reason='exit code 1', result={}, blamed=())
    """
    if report.again is not None:
        return Waiting(report.again, bounded(report.reason), report.result)
    if report.failure is None:
        return Done(report.result)
    reason = bounded(report.reason or report.failure)
    delay = policy.delay_after(attempt, report.failure)
    if delay is None:
        return DeadLetter(reason, report.result, report.blamed)
    return Retry(max(delay, report.after), reason, report.result, report.blamed)


def step_for(delay: timedelta) -> str:
    """Return the retry step for *delay*: the shortest step that is at least as long, or the longest step.

    >>> step_for(timedelta(seconds=45)), step_for(timedelta(days=1))
    ('1m', '6h')
    """
    return next((name for name, length in _STEPS if length >= delay), _STEPS[-1][0])


def step_within(delay: timedelta) -> str:
    """Return the retry step for a part of *delay*: the longest step that is not longer, or the shortest step.

    >>> step_within(timedelta(seconds=45)), step_within(timedelta(days=1)), step_within(timedelta())
    ('15s', '6h', '1s')
    """
    return next((name for name, length in reversed(_STEPS) if length <= delay), _STEPS[0][0])


_STEPS = sorted(RETRY_STEPS.items(), key=lambda each: each[1])
