"""When a failed delivery is attempted again.  No clock, no broker: only arithmetic.

A delay is asked for by the policy and given by the ladder: the broker has one wait queue for each rung, and a delivery
waits on the smallest that is not shorter than was asked.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from router import durations
from router.broker.topology import RUNGS

LONGEST = max(RUNGS.values())
"""What the ladder can wait at the most."""

_FAILURE = re.compile(
    r"exit(:(25[0-5]|2[0-4]\d|1\d\d|\d\d?))?|signal(:\d\d?)?|timeout|http(:[1-5]\d\d)?|connect|notify"
    r"|unreachable|nodes|several|lost|[A-Z]\w*"
)


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        # A bare number is what is most often meant as seconds, and most often is not what was meant.
        raise ValueError(f"{value!r} is no duration: write a number and a unit, such as 30s or 1h30m")  # noqa: TRY004 - pydantic takes it for a mistake in the value
    return durations.parse(value)


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("has to be longer than 0s")
    return value


def _on_the_ladder(value: timedelta) -> timedelta:
    if value > LONGEST:
        raise ValueError(f"the broker's longest wait is {durations.text(LONGEST)}")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    AfterValidator(_positive),
    PlainSerializer(durations.text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["30s", "1h30m"]}),
]
"""A field that is read from `30s`, `1h30m`: the unit is required."""


def no_longer_than(limit: timedelta) -> Callable[[timedelta], timedelta]:
    """Return what refuses a duration that is longer than *limit*."""

    def checked(value: timedelta) -> timedelta:
        if value > limit:
            raise ValueError(f"is longer than {durations.text(limit)}")
        return value

    return checked


def _failure(value: str) -> str:
    if not _FAILURE.fullmatch(value):
        words = "exit:64, exit, signal:9, signal, timeout, http:503, http, connect, notify, unreachable, nodes, several"
        raise ValueError(f"{value!r} is no failure: write {words}, lost or OSError")
    return value


class RetryPolicy(BaseModel):
    """How often a delivery is attempted, and how long to wait in between.

    *never_for* names failures that no other attempt would mend: `exit:64` is one exit code, `exit` all of them,
    `OSError` what a handler raised.  *only_for* names the only ones that another might.  A delivery that is given up is
    brought to the subscription *then* as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    attempts: int = Field(default=8, ge=1, le=100)
    first: Duration = timedelta(seconds=5)
    growth: float = Field(default=3, ge=1, le=10)
    longest: Annotated[Duration, AfterValidator(_on_the_ladder)] = timedelta(hours=1)
    never_for: tuple[Annotated[str, AfterValidator(_failure)], ...] = Field(default=(), strict=False)
    only_for: tuple[Annotated[str, AfterValidator(_failure)], ...] = Field(default=(), strict=False)
    then: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.longest < self.first:
            longest, first = durations.text(self.longest), durations.text(self.first)
            raise ValueError(f"longest ({longest}) is shorter than first ({first})")
        return self

    def delay_after(self, attempt: int, failure: str = "") -> timedelta | None:
        """Return the wait after failed *attempt* (the first is 1), or None to give up, be it for this *failure*.

        >>> RetryPolicy(attempts=3).delay_after(2)
        datetime.timedelta(seconds=15)
        >>> RetryPolicy(never_for=("exit:64",)).delay_after(1, "exit:64")
        >>> RetryPolicy(only_for=("timeout",)).delay_after(1, "exit:64")
        """
        if attempt >= self.attempts or not self._may_mend(failure):
            return None
        # Capped as a float: a timedelta of the uncapped value could overflow.
        seconds = self.first.total_seconds() * self.growth ** (attempt - 1)
        return timedelta(seconds=min(seconds, self.longest.total_seconds()))

    def _may_mend(self, failure: str) -> bool:
        if not failure:
            return True
        words = {failure, failure.partition(":")[0]}
        return not words.intersection(self.never_for) and (not self.only_for or bool(words.intersection(self.only_for)))

    def schedule(self) -> tuple[str, ...]:
        """Return the rungs that a delivery waits on, from the first failed attempt to the last that is not final.

        >>> RetryPolicy(attempts=5).schedule()
        ('5s', '15s', '1m', '5m')
        """
        delays = (self.delay_after(attempt) for attempt in range(1, self.attempts))
        return tuple(rung(each) for each in delays if each is not None)


def rung(delay: timedelta) -> str:
    """Return the rung for *delay*: the smallest that is not shorter, or the longest that there is.

    >>> rung(timedelta(seconds=45)), rung(timedelta(days=1))
    ('1m', '6h')
    """
    return next((name for name, length in _LADDER if length >= delay), _LADDER[-1][0])


def hop(delay: timedelta) -> str:
    """Return the rung for a part of *delay*: the longest that is not longer, or the shortest that there is.

    >>> hop(timedelta(seconds=45)), hop(timedelta(days=1)), hop(timedelta())
    ('15s', '6h', '1s')
    """
    return next((name for name, length in reversed(_LADDER) if length <= delay), _LADDER[0][0])


_LADDER = sorted(RUNGS.items(), key=lambda each: each[1])
