"""What is due on an alert: asking the facts, telling what was held back, reminders, escalation, the end of a group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from router.model.ids import derived_id

from ..alerts.alert_row import AlertRow
from ..alerts.life.changes import milliseconds
from ..alerts.life.observations import Observation
from ..alerts.life.subject import Subject
from ..alerts.life.unit_of_work import UnitOfWork

_LATER: Final = timedelta(minutes=1)
"""When an escalation is tried again that its alert's cause holds back."""

Asks = Callable[[Subject, AlertRow], datetime | None]
"""Returns when the facts were read that say that an alert is over; None if they do not."""


class DueWork:
    """Does what is due, within one unit of work."""

    def __init__(self, unit: UnitOfWork, asks: Asks, has_members: Callable[[str, str], bool]) -> None:
        """Work in *unit*; *has_members* says whether any alert of a rule is open in a cluster."""
        self._unit, self._asks, self._has_members = unit, asks, has_members

    def close_quiet(self, subject: Subject) -> None:
        """Close the alert of *subject* if it was not opened again for so long."""
        moment, due = subject.quiet_at, subject.quiet_due
        if moment is not None and due is not None and due <= self._unit.times.passed:
            # Whatever the latest opening was: the same silence is observed once.
            last = subject.lives.open.last if subject.lives.open else subject.key
            id_ = derived_id(last[:10], f"passes/{subject.key}/{moment.isoformat()}")
            if not self._unit.observe(subject.key, Observation(id=id_, at=moment, kind="passes", cause="quiet")):
                subject.quiet_at = subject.quiet_due = None
                self._unit.touched.add(subject.key)

    def look(self, subject: Subject) -> None:
        """Do all that is due on the alert of *subject*."""
        for step in (self._ask, self._tell, self._escalate, self._remind):
            if subject.row is not None:
                step(subject, subject.row)

    def _is_due(self, due: int | None) -> bool:
        return due is not None and due <= self._unit.times.passed

    def _ask(self, subject: Subject, row: AlertRow) -> None:
        if not self._is_due(row.ask_due):
            return
        again = self._unit.times.passed + milliseconds(subject.policy.ask_every)
        self._unit.save(subject, replace(row, ask_due=again))
        moment = self._asks(subject, row)
        if moment is not None:
            id_, now = derived_id(row.id, f"fact/{moment.isoformat()}"), self._unit.times.now
            seen = Observation(id=id_, at=moment, kind="closes", cause="fact", found_at=now)
            self._unit.observe(subject.key, seen)

    def _tell(self, subject: Subject, row: AlertRow) -> None:
        if not self._is_due(row.tell_due):
            return
        row = self._unit.save(subject, replace(row, tell_due=None))
        if not row.is_group:
            self._unit.tell(subject)
        elif not self._has_members(row.rule, row.cluster):
            moment = subject.after_all(self._unit.times.now)
            id_ = derived_id(row.id, "ended")
            self._unit.observe(subject.key, Observation(id=id_, at=moment, kind="closes", cause="group"))

    def _escalate(self, subject: Subject, row: AlertRow) -> None:
        if not self._is_due(row.escalate_due):
            return
        if self._unit.surroundings.is_explained(row):
            self._unit.save(subject, replace(row, escalate_due=self._unit.times.passed + milliseconds(_LATER)))
        else:
            # Whoever is told now is to hear the end, too.
            row = replace(row, escalate_due=None, escalated_to=subject.policy.escalate_to)
            self._unit.change(subject, row, "alertEscalated", "time")

    def _remind(self, subject: Subject, row: AlertRow) -> None:
        if self._is_due(row.remind_due):
            remind = subject.policy.remind
            again = None if remind is None else self._unit.times.passed + milliseconds(remind)
            row = replace(row, remind_due=again)
            if again is None or self._unit.surroundings.is_explained(row):
                # The rule no longer asks for it, or people are reminded of what caused it.
                self._unit.save(subject, row)
            else:
                self._unit.change(subject, row, "alertReminded", "time")
