"""What the answer of a webhook comes to: done, again later, or given up.  Pure: no network, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from ...deliveries import Report
from ...errors import Rejected
from ...retries import LONGEST
from ...texts import one_line, shortened

KEPT = ("content-type", "content-length", "date", "location", "retry-after", "server", "x-request-id", "request-id")
"""The headers of an answer that are kept with the delivery."""

_LONGEST_HEADER = 200
_HEAD = 500
_FINE = range(200, 300)
_OVERLOADED = 429
_GONE = 410


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: the head of the body as text, *cut* where there was more."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    cut: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return what is kept with the delivery."""
        headers = {each: shortened(self.headers[each], _LONGEST_HEADER) for each in KEPT if each in self.headers}
        return {"status": self.status, "headers": headers, "body": self.body, **({"cut": True} if self.cut else {})}

    def __str__(self) -> str:
        """Return it for people: the status, and how the body begins."""
        phrase = f" {HTTPStatus(self.status).phrase}" if self.status in set(HTTPStatus) else ""
        head = shortened(one_line(self.body).strip(), _HEAD)
        return f"{self.status}{phrase}{f': {head}' if head else ''}"


def judge(answer: Answer, retry_on: Sequence[str], target: str, result: Mapping[str, object], now: datetime) -> Report:
    """Return what *answer* of *target* comes to; raises Rejected, with *result*, where trying again would not help."""
    if answer.status in _FINE:
        return Report(result=result)
    told = f"{target} answered {answer}"
    if not {str(answer.status), f"{answer.status // 100}xx"} & set(retry_on):
        if answer.status == _GONE:
            raise Rejected(f"{told} (the receiver is gone and wants no more: end the subscription)", result)
        raise Rejected(told, result)
    blamed = [target] if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == _OVERLOADED else []
    after = retry_after(answer.headers.get("retry-after", ""), now)
    return Report(f"http:{answer.status}", told, result, after=after, blamed=blamed)


def retry_after(value: str, now: datetime) -> timedelta:
    """Return how long a `Retry-After` asks to wait, seconds or a date; six hours at the most, nothing of nonsense.

    >>> now = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
    >>> retry_after("120", now), retry_after("Fri, 20 Nov 2026 15:01:00 GMT", now), retry_after("soon", now)
    (datetime.timedelta(seconds=120), datetime.timedelta(seconds=60), datetime.timedelta(0))
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        # Bounded as a text: a number of a thousand digits is no timedelta.
        return min(timedelta(seconds=int(value[:9])), LONGEST)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return timedelta()
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(timedelta(), min(aware - now, LONGEST))
