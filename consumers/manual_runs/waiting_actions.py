"""Actions that wait, for their next nodes or their next attempt: shown to people, who can cancel them.

A cancelled one ends when the broker brings its message back, and is never called again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from ..deliveries import LEFT, NOT_BEFORE, PORTIONS, Key, has_job
from ..processes.job_files import JobError
from ..processes.job_runner import cancellation
from ..store import approvals, attempts, queries
from ..store.limits import taken_places

_RECENT, _GONE = timedelta(days=7), timedelta(days=1)
_SHOWN, _SEARCHED = 1000, 10_000


class NotWaiting(JobError):
    """A delivery cannot be cancelled now: it runs, or has ended."""


class UnknownAction(JobError):
    """No delivery of the last week has this id."""


@dataclass(frozen=True, slots=True)
class WaitingAction:
    """An action whose delivery waits; *row* is its latest attempt."""

    row: queries.WaitingRow

    @property
    def id(self) -> str:
        """Its id, the same for all its attempts."""
        return _identity(self.row)

    @property
    def left(self) -> str:
        """The nodes on which it has not succeeded yet, folded."""
        nodes = self.row.result.get("nodes")
        failed = nodes.get("failed") if isinstance(nodes, dict) else ""
        return str(self.row.result.get(LEFT) or self.row.result.get("not_begun") or failed or "")

    @property
    def until(self) -> datetime | None:
        """When it goes on, at the earliest."""
        moment = self.row.result.get(NOT_BEFORE)
        return datetime.fromisoformat(moment) if isinstance(moment, str) else self.row.again

    def as_dict(self) -> dict[str, Any]:
        """Return what people see of it, as of a job."""
        row = self.row
        about = {"type": row.event, "subscription": row.subscription, "event": row.event_id, "attempt": row.attempt}
        facts = {
            "id": self.id,
            "state": "waiting",
            "about": {**about, "nodes": self.left},
            "asked": row.started.isoformat(),
        }
        return {**facts, "until": self.until, "reason": row.reason or "", "result": row.result}


def found(transaction: Connection, now: datetime) -> list[WaitingAction]:
    """Return the actions that wait, newest first: at most 1000, begun in the last week, none overdue by a day."""
    rows = queries.waiting(transaction, now - _RECENT, _SHOWN)
    waits = (row for row in rows if row.is_cancelled or not _runs(row))
    return [WaitingAction(row) for row in waits if row.again and row.again + _GONE > now]


def cancel(transaction: Connection, action_id: str, by: str, now: datetime) -> tuple[WaitingAction, bool]:
    """Let the waiting action *action_id* end as a dead letter, cancelled by *by*.

    Return it as it was, and False if somebody had cancelled it before.  Its places are free at once.
    Raises NotWaiting and UnknownAction.
    """
    waiting = next((each for each in found(transaction, now) if each.id == action_id), None)
    if waiting is None:
        raise _why_not(transaction, action_id, now)
    row = waiting.row
    if row.is_cancelled:
        return waiting, False
    result = {name: value for name, value in row.result.items() if name not in (LEFT, NOT_BEFORE, PORTIONS)}
    result |= {"not_begun": row.result[LEFT]} if LEFT in row.result else {}
    if not attempts.cancel(transaction, row, cancellation(by, action_id), result, now):
        raise NotWaiting(f"{action_id} has just gone on: {_RUNS}")
    taken_places.leave(transaction, [Key(row.event_id, row.subscription, row.replay)], now)
    return waiting, True


_RUNS = "`clusterbus jobs list` shows the job that you can cancel"


def _why_not(transaction: Connection, action_id: str, now: datetime) -> JobError:
    recent = queries.find(transaction, since=now - _RECENT, limit=_SEARCHED)
    row = next((each for each in recent if _identity(each) == action_id), None)
    if row is None:
        return UnknownAction(
            f"{action_id} is no delivery of the last week: `clusterbus jobs list` shows what waits or runs"
        )
    if row.outcome is None or _runs(row):
        return NotWaiting(f"{action_id} runs: {_RUNS}")
    if row.outcome in ("retry", "wait"):
        return NotWaiting(f"{action_id} waits, but is no action that has begun on nodes")
    return NotWaiting(f"{action_id} has already ended: {row.outcome}{f', {row.reason}' if row.reason else ''}")


def _runs(row: queries.Row) -> bool:
    """Say whether a job of it goes on, which its delivery asks about now and then."""
    return row.outcome == attempts.WAIT and has_job(row.result)


def _identity(row: queries.Row) -> str:
    return approvals.identity(Key(row.event_id, row.subscription, row.replay))
