"""What is wrong now, in one value: open alerts, what waits, what is paused, and the findings of the doctor.

What cannot be read is *unknown*, with the reason, and never good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sqlalchemy.engine import Connection

from router.broker.session import Session
from router.model.events import SEVERITIES, Severity
from router.settings.models import Settings

from ...alerts.alert_row import AlertRow
from ...expressions.values import human_texts
from ...store import breakers, letters, waiting_deliveries
from ...store.alerts import alerts
from ...store.database import Store
from ...store.limits import stops
from ...store.waiting_deliveries import WaitingDeliveries
from ..doctor.check_results import Finding
from ..doctor.examination import examine
from ..doctor.machine import machine_roles
from ..doctor.part_answers import failure
from ..doctor.time_limit import TimeLimit
from . import alert_listing
from .alert_listing import alert_facts, at_least

MOST_ALERTS: Final = 20
"""Alerts that are shown, the worst first, and those that are suppressed last."""

_MOST_READ: Final = 1000

State = Literal["ok", "warning", "error", "unknown"]


@dataclass(frozen=True, slots=True)
class Overview:
    """What is wrong at *now*.

    *alerts* are the worst that are not closed, *counts* all of them by severity, *notified* has by id who was notified
    of each.  *paused* says in words which subscriptions and targets are stopped.  *unknown* are reasons why something
    is not known; *asked_alerts* is False on a machine that has no consumers.
    """

    now: datetime
    findings: Sequence[Finding] = ()
    alerts: Sequence[AlertRow] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    notified: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    waiting: Sequence[WaitingDeliveries] = ()
    paused: Sequence[str] = ()
    letters: int | None = None
    unknown: Sequence[str] = ()
    asked_alerts: bool = True

    @property
    def knows_alerts(self) -> bool:
        """Whether the store says which alerts are open."""
        return self.asked_alerts and self.letters is not None

    def of(self, verdict: str) -> list[Finding]:
        """Return the findings with this *verdict*, without those that say only that something is not known."""
        return [each for each in self.findings if each.verdict == verdict and not each.unreachable]

    def open_at(self, severity: Severity) -> int:
        """Return how many alerts of *severity* or a worse one are not closed."""
        return sum(self.counts.get(each, 0) for each in at_least(severity))

    def verdict(self, severity: Severity) -> State:
        """Return how it is: `error` also for each open alert of *severity* or worse; what is known comes first."""
        if self.of("error") or self.open_at(severity):
            return "error"
        if self.unknown:
            return "unknown"
        return "warning" if self.of("warning") or self.open_at("warning") or self.paused else "ok"

    def as_dict(self, severity: Severity) -> dict[str, Any]:
        """Return it as plain values."""
        shown = [
            alert_facts(each, self.now) | {"notified": dict(self.notified.get(each.id, {}))} for each in self.alerts
        ]
        return {
            "verdict": self.verdict(severity),
            "errors": len(self.of("error")),
            "warnings": len(self.of("warning")),
            "unreachable": any(each.unreachable for each in self.findings),
            "unknown": list(self.unknown),
            "alerts": {"open": dict(self.counts), "worst": shown} if self.knows_alerts else None,
            "waiting": [asdict(each) | {"age": self._age(each.oldest)} for each in self.waiting],
            "paused": list(self.paused),
            "letters": self.letters,
            "findings": [asdict(each) for each in self.findings],
        }

    def oldest_waiting(self) -> int:
        """Return the seconds since the oldest delivery began to wait; 0 if none waits."""
        return max((self._age(each.oldest) for each in self.waiting), default=0)

    def _age(self, since: datetime) -> int:
        return max(0, round((self.now - since).total_seconds()))


def read(settings: Settings, connect: Callable[[], Session]) -> Overview:
    """Return what is wrong now, as far as this machine has to know it."""
    findings = [_of_site(each) for each in examine(settings, None, connect)]
    unknown = [each.seen for each in findings if each.unreachable]
    now, asked = datetime.now(UTC), "store" in machine_roles.belonging(settings)[1]
    if not asked:
        return Overview(now, findings, unknown=unknown, asked_alerts=False)

    def read_store() -> Overview:
        with Store(settings.consumers.store, upgrade=False) as store, store.reading() as transaction:
            return _of_store(transaction, settings, findings, unknown)

    try:
        return TimeLimit().within("the database of consumers.store", read_store)
    except Exception as error:  # noqa: BLE001 - whatever is broken there says nothing of the findings
        reason = f"alerts and deliveries are {failure('store', error).seen}"
        return Overview(now, findings, unknown=[*unknown, reason])


def _of_site(finding: Finding) -> Finding:
    """Return *finding* as it counts for the site: one node that is off must not make all else unknown."""
    return replace(finding, verdict="warning", unreachable=False) if finding.others_answered else finding


def _of_store(
    transaction: Connection, settings: Settings, findings: Sequence[Finding], unknown: Sequence[str]
) -> Overview:
    now, silent = datetime.now(UTC), alert_listing.silent(settings)
    counts: dict[str, int] = {}
    for (_, severity, _), number in alerts.count_open(transaction).items():
        counts[severity] = counts.get(severity, 0) + number
    worst = _worst(transaction)
    return Overview(
        now,
        findings,
        worst,
        counts,
        {each.id: alert_listing.notified(transaction, each.id, silent) for each in worst},
        waiting_deliveries.by_subscription(transaction),
        list(_paused(transaction, now)),
        letters.count_kept(transaction)[0],
        unknown,
    )


def _worst(transaction: Connection) -> Sequence[AlertRow]:
    """Return the worst alerts that are not closed, of equal ones the oldest first; those that are suppressed last."""
    found: list[AlertRow] = []
    for suppressed in (False, True):
        for severity in reversed(SEVERITIES):
            if len(found) < MOST_ALERTS:
                same = alerts.select(transaction, severity=[severity], suppressed=suppressed, limit=_MOST_READ)
                found += sorted(same, key=lambda each: each.since)
    return found[:MOST_ALERTS]


def _paused(transaction: Connection, now: datetime) -> Iterator[str]:
    for stop in stops.stopped(transaction):
        yield f"subscription {stop.subscription} is stopped for {human_texts.span(now - stop.at)}: {stop.reason}"
    for breaker in breakers.find(transaction).values():
        # What is gone for good is a finding already.
        if breaker.until is not None and breaker.opened is not None and not breaker.is_gone:
            yield f"target {breaker.target} is paused for {human_texts.span(now - breaker.opened)}: {breaker.reason}"
