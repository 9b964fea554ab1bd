"""Timers: when a subscription is due that no event causes.  Only decisions; the clock is passed in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from router.model import durations, time_zones
from router.settings.field_types import ONE_OR_SEVERAL, ShortForm, matching, whole
from router.settings.local_zone import local_zone

from ...config.field_types import EACH_ONCE, Closed
from ..throttling import Interval

_SHORTEST: Final = timedelta(seconds=10)
_LOOK_BACK: Final = 620
"""Days within which each timer is due at least once: a 31st that is a Monday may be 609 days after the last one."""

_AS_CRON: Final = re.compile(r"[*@:]|^\s*[a-z]+\s*$|\S\s+\S", re.IGNORECASE)
"""What people write who think of cron, or of a clock time."""

_SHOWN: Final = 40
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Clock = Annotated[str, matching(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", "is no clock time: write it as in 06:00")]
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def _zone(name: str) -> str:
    time_zones.named(name)
    return name


def _long_enough(interval: timedelta | None) -> timedelta | None:
    if interval is not None and interval < _SHORTEST:
        raise ValueError(f"must be at least {durations.text(_SHORTEST)}")
    return interval


def _one_kind(schema: dict[str, Any]) -> None:
    """Add to *schema* that there is either an interval, or clock times."""
    interval = {"required": ["interval"], "properties": {"interval": {"not": {"type": "null"}}}}
    no_times: dict[str, Any] = {
        "properties": {each: {"enum": [None, []]} for each in ("at", "weekdays", "month_days", "zone")}
    }
    at = {"required": ["at"], "properties": {"at": {"not": {"const": []}}}}
    schema["oneOf"] = [{"allOf": [interval, no_times]}, {"allOf": [at, {"not": interval}]}]


class Every(Closed):
    """When a subscription is due: after each *interval*, or *at* clock times, on some days, in a time zone.

    Intervals are counted from the beginning of 1970, UTC, so that all consumers and restarts agree.
    """

    model_config = ConfigDict(json_schema_extra=_one_kind)

    interval: Annotated[Interval | None, AfterValidator(_long_enough)] = None
    """The time between two moments, from 10s to 31d."""
    at: Annotated[tuple[_Clock, ...], Field(strict=False, max_length=48), EACH_ONCE, ONE_OR_SEVERAL] = ()
    """Clock times, such as `06:00`: one or several."""
    weekdays: Annotated[tuple[Weekday, ...], Field(strict=False), EACH_ONCE, ONE_OR_SEVERAL] = ()
    """Only on these days of the week."""
    month_days: Annotated[tuple[Annotated[int, Field(ge=1, le=31)], ...], Field(strict=False), EACH_ONCE] = ()
    """Only on these days of the month."""
    zone: Annotated[str, AfterValidator(_zone)] | None = None
    """The time zone of the clock times, such as Europe/Berlin; by default that of the machine."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.interval is None) is (not self.at):
            raise ValueError("write either an interval, such as 1h, or `at` with clock times")
        if self.interval is not None and (self.weekdays or self.month_days or self.zone):
            raise ValueError("`weekdays`, `month_days` and `zone` are for `at`, not for an interval")
        return self

    def latest(self, now: datetime) -> datetime:
        """Return the last moment, in UTC, at which it was due by *now*.

        A clock time that clocks skip is as much later; one that occurs twice is due the first time.

        >>> noon = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
        >>> str(Every(interval=timedelta(hours=7)).latest(noon)), str(Every(at=("13:00",), zone="UTC").latest(noon))
        ('2026-11-20 11:00:00+00:00', '2026-11-19 13:00:00+00:00')
        """
        if self.interval is not None:
            return _EPOCH + (now - _EPOCH) // self.interval * self.interval
        return max((each for each in self._moments(now, back=True) if each <= now), default=_EPOCH)

    def next(self, now: datetime) -> datetime | None:
        """Return the next moment, in UTC, at which it is due after *now*; None if there is none."""
        if self.interval is not None:
            return self.latest(now) + self.interval
        return min((each for each in self._moments(now, back=False) if each > now), default=None)

    @property
    def text(self) -> str:
        """What it says, in words."""
        if self.interval is not None:
            return f"every {durations.text(self.interval)}"
        days = [*self.weekdays, *(f"the {each}." for each in self.month_days)]
        where = f" {self.zone}" if self.zone else ""
        return f"at {', '.join(self.at)}{where}{' on ' + ', '.join(days) if days else ''}"

    def _moments(self, now: datetime, *, back: bool) -> Iterator[datetime]:
        """Yield the moments of the nearest days: of one day beyond what is asked for, since zones shift them."""
        zone: tzinfo = time_zones.named(self.zone) if self.zone else local_zone()
        today = now.astimezone(zone).date()
        for away in range(-1, _LOOK_BACK):
            day = today + timedelta(days=-away if back else away)
            found = [self._moment(day, text, zone) for text in self.at] if self._is_on(day) else []
            yield from found
            if away > 1 and found:
                return

    def _is_on(self, day: date) -> bool:
        if self.weekdays and _DAYS[day.weekday()] not in self.weekdays:
            return False
        return not self.month_days or day.day in self.month_days

    @staticmethod
    def _moment(day: date, text: str, zone: tzinfo) -> datetime:
        hours, _, minutes = text.partition(":")
        return datetime.combine(day, time(int(hours), int(minutes)), tzinfo=zone).astimezone(UTC)


def _expanded(value: Any) -> Any:  # noqa: ANN401 - pydantic's
    if isinstance(value, str) and _AS_CRON.search(value):
        raise ValueError(
            f"{value[:_SHOWN]!r} is no interval: write one, such as 1h, or {{at: '06:00', weekdays: monday}}"
        )
    return {"interval": value} if isinstance(value, str) else value


WrittenEvery = Annotated[Every, ShortForm(_expanded, {"type": "string", **whole(durations.PATTERN)})]
"""A timer as it is written: its interval alone, or with its keys."""
