"""Turn the response of a webhook into a report: done, retry or dead letter.  Pure: no network, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from ...deliveries import GONE, Report
from ...errors import Rejected
from ...expressions.sanitize import one_line, shortened
from ...policies.retry import LONGEST

KEPT = ("content-type", "content-length", "date", "location", "retry-after", "server", "x-request-id", "request-id")
"""The response headers that are stored with the delivery."""

_LONGEST_HEADER = 200
_HEAD = 500
_FINE = range(200, 300)
_OVERLOADED = 429
_GONE = 410


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, with the beginning of its body as text; *cut* if the body was longer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    cut: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return the facts that are stored with the delivery."""
        headers = {each: shortened(self.headers[each], _LONGEST_HEADER) for each in KEPT if each in self.headers}
        return {"status": self.status, "headers": headers, "body": self.body, **({"cut": True} if self.cut else {})}

    def __str__(self) -> str:
        """Return the status and the beginning of the body as text."""
        phrase = f" {HTTPStatus(self.status).phrase}" if self.status in set(HTTPStatus) else ""
        head = shortened(one_line(self.body).strip(), _HEAD)
        return f"{self.status}{phrase}{f': {head}' if head else ''}"


def judge(answer: Answer, retry_on: Sequence[str], target: str, result: Mapping[str, object], now: datetime) -> Report:
    """Return the report for *answer* of *target*; raises Rejected with *result* if a retry would not help."""
    if answer.status in _FINE:
        return Report(result=result)
    reason = f"{target} answered {answer}"
    if answer.status == _GONE and str(_GONE) not in retry_on:
        raise Rejected(f"{reason} (the receiver wants no more events)", {**result, GONE: target})
    if not {str(answer.status), f"{answer.status // 100}xx"} & set(retry_on):
        raise Rejected(reason, result)
    blamed = [target] if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == _OVERLOADED else []
    after = retry_after(answer.headers.get("retry-after", ""), now)
    return Report(f"http:{answer.status}", reason, result, after=after, blamed=blamed)


def retry_after(value: str, now: datetime) -> timedelta:
    """Return the wait that a `Retry-After` asks for (seconds or a date), at most six hours; zero if it is invalid.

    >>> now = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
    >>> retry_after("120", now), retry_after("Fri, 20 Nov 2026 15:01:00 GMT", now), retry_after("soon", now)
    (datetime.timedelta(seconds=120), datetime.timedelta(seconds=60), datetime.timedelta(0))
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        # Cut the text first: a number of a thousand digits does not fit a timedelta.
        return min(timedelta(seconds=int(value[:9])), LONGEST)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return timedelta()
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(timedelta(), min(aware - now, LONGEST))
