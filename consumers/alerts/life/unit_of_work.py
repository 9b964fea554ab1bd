"""One unit of work: what was observed, in the order in which it arrived, and what alerts become of it.

It works on what was read from the store, and collects what is to be written: rows, observations and changes.  Each
change is that between what was told and what the observations say.  Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from router.model.events import SEVERITIES

from ..alert_row import AlertRow, Cause, State
from .changes import OVER, Change, milliseconds
from .lifecycle import Life
from .observations import Observation
from .subject import Subject
from .surroundings import Surroundings

HELD = timedelta(minutes=15)
"""How long an opening of a backlog is held back at most."""

DOUBTED = timedelta(minutes=1)
"""How long an opening is held back that another node confirms after one node reported the end: that may follow."""


@dataclass(frozen=True, slots=True)
class Times:
    """The times of one unit of work: *now* by the clock, and the milliseconds that have *passed* for the engine.

    *captured* is the latest time of capture that was read.  What was captured before *held_before* is not told yet.
    """

    now: datetime
    passed: int
    captured: datetime | None = None
    held_before: datetime | None = None


class UnitOfWork:
    """The work of one transaction."""

    def __init__(self, times: Times, subjects: Mapping[str, Subject], surroundings: Surroundings) -> None:
        """Work on *subjects*, by their keys, with what is around them."""
        self.times, self.surroundings = times, surroundings
        self.subjects = dict(subjects)
        self.touched: set[str] = set()
        """The keys of the subjects that have changed."""
        self.rows: dict[str, AlertRow] = {}
        """The alerts that have changed, by id."""
        self.changes: list[Change] = []
        self.observations: dict[tuple[str, str], Observation] = {}
        """What is to be written, by key and id."""
        self.ended_parents: set[str] = set()
        """Alerts that are closed, and suppressed others."""
        self.held: set[str] = set()
        """Alerts that are not told yet, because they may be over by now."""
        self.suppressing: Counter[str] = Counter()
        """How many more alerts each alert suppresses."""
        self.thinned: set[tuple[str, str]] = set()
        """The rules with their clusters of which alerts were closed."""

    def observe(self, key: str, observation: Observation) -> bool:
        """Take in one observation; return False if it changes nothing: it is known, or too late."""
        subject = self.subjects[key]
        if not subject.add(observation):
            return False
        self.observations[key, observation.id] = observation
        self._reconcile(subject, observation)
        return True

    def tell(self, subject: Subject) -> None:
        """Tell the open alert of *subject*, which was held back or suppressed until now."""
        row, life = subject.row, subject.lives.open
        if row and life and not row.told:
            self._tell(subject, row, life, life.last, "event")
        elif row and row.suppressed_by:
            self._tell(subject, replace(row, suppressed_by=None), life, None, "group")

    def finish(self) -> None:
        """Complete what is to be written: the nodes of groups that have grown."""
        for each in self.surroundings.groups.values():
            if each.row and each.row.id in self.rows:
                self.save(each.subject, replace(each.row, nodes=each.text()))

    def save(self, subject: Subject, row: AlertRow) -> AlertRow:
        """Note that *row* is what the alert of *subject* is now; return it."""
        self.rows[row.id] = row
        self.touched.add(subject.key)
        if row.rule in self.surroundings.parents:
            self.surroundings.add([row])
        subject.row = None if row.state == "closed" else row
        return row

    def change(self, subject: Subject, row: AlertRow, name: str, cause: Cause, **more: Any) -> AlertRow:  # noqa: ANN401 - fields of Change
        """Note that *row* has changed, and what tells it; return the row after it."""
        row = replace(row, change=row.change + 1)
        shown = replace(row, suppressed=row.suppressed + self.suppressing[row.id])
        self.changes.append(Change(row=shown, name=name, at=self.times.now, cause=cause, **more))
        return self.save(subject, row)

    def _reconcile(self, subject: Subject, observed: Observation) -> None:
        self.touched.add(subject.key)
        for life in subject.lives.lives:
            if life.until is not None and not life.alerts:
                self._keep_untold(subject, life)
        if row := subject.row:
            told = subject.life_of(row.id)
            if told is None or told.until is not None:
                self._close(subject, row, told, observed)
            else:
                self._update(subject, row, told, observed)
        if (now := subject.lives.open) and subject.row is None:
            self._open(subject, now, observed)
        self._set_quiet(subject)

    def _keep_untold(self, subject: Subject, life: Life) -> None:
        row = self._row(subject, life)
        row = replace(row.closed(life.until or life.last_at), by=life.by, comment=life.comment)
        open_row = subject.row
        self.change(subject, row, "alertClosed", life.cause, last_event=life.closed_by or None, why=OVER)
        subject.row = open_row

    def _open(self, subject: Subject, life: Life, observed: Observation) -> None:
        row = self._row(subject, life)
        if not subject.is_group and self._is_held(life):
            self.held.add(row.id)
            held = DOUBTED if life.is_doubtful else HELD
            self.save(subject, replace(row, tell_due=self.times.passed + milliseconds(held)))
        else:
            self._tell(subject, row, life, observed.id, observed.cause)

    def _row(self, subject: Subject, life: Life) -> AlertRow:
        begun = subject.begin(life)
        self.observations[subject.key, begun.id] = begun
        group = self.surroundings.group_of(subject) if subject.is_group else None
        return AlertRow(
            id=begun.alert or "",
            key=subject.key,
            rule=subject.rule,
            cluster=subject.cluster,
            node=life.node,
            event_node=life.event_node,
            confirmed_by=life.confirmed_by,
            nodes=group.text() if group else life.node,
            is_group=subject.is_group,
            about=subject.about,
            severity=life.severity,
            summary=life.summary,
            since=life.since,
            openings=group.size if group else life.openings,
            opened_by=begun.id,
            last_opening=life.last,
            event_type=life.event_type,
            owner=life.owner,
            depth=life.depth,
            flapping=life.flapping,
            ask_due=self.times.passed if subject.policy.asks_facts else None,
        )

    def _is_held(self, life: Life) -> bool:
        before = self.times.held_before
        return life.is_doubtful or (before is not None and life.last_at < before)

    def _tell(self, subject: Subject, row: AlertRow, life: Life | None, last_event: str | None, cause: Cause) -> None:
        self.held.discard(row.id)
        first = not row.told
        row = replace(row, told=True, tell_due=None, openings_told=_told(row))
        parent = self._join_group(subject, row) or self.surroundings.parent_of(row)
        if parent is None:
            row = self._with_dues(subject, row)
        elif not first:
            # It was suppressed before, and is again.
            self.save(subject, replace(row, suppressed_by=parent))
            return
        else:
            self.suppressing[parent] += 1
        row = replace(row, suppressed_by=parent)
        if life and life.act and life.act != row.act:
            row = _acted(row, life)
        row = self.change(subject, row, "alertOpened", cause, last_event=last_event)
        if row.flapping and first:
            self.change(subject, row, "alertFlapping", cause, last_event=last_event)

    def _join_group(self, subject: Subject, row: AlertRow) -> str | None:
        """Return the id of the alert that stands for *row* too, if there are so many of its rule."""
        group = self.surroundings.group_of(subject)
        if group is None or subject.is_group:
            return None
        group.add(row.id, row.node, (row.event_node, row.confirmed_by))
        if group.row is None:
            if group.is_many_of(row.event_node if row.confirmed_by in ("", row.event_node) else "") or group.is_sure:
                self.observe(group.subject.key, group.opening(row))
            return group.suppressing(row)
        if group.row.sole_reporter and group.is_sure:
            self.observe(group.subject.key, group.opening(row))
        if group.size >= 2 * group.row.openings_told:
            grown = replace(group.grown(), openings_told=group.size)
            self.change(group.subject, grown, "alertRepeated", "group", last_event=row.last_opening)
        else:
            self.save(group.subject, group.grown())
        return group.suppressing(row)

    def _with_dues(self, subject: Subject, row: AlertRow) -> AlertRow:
        policy, passed = subject.policy, self.times.passed
        if row.state != "open" or row.suppressed_by:
            return replace(row, remind_due=None, escalate_due=None)
        return replace(
            row,
            remind_due=None if policy.remind is None else passed + milliseconds(policy.remind),
            escalate_due=None if policy.escalate_after is None else passed + milliseconds(policy.escalate_after),
        )

    def _update(self, subject: Subject, before: AlertRow, life: Life, observed: Observation) -> None:
        row = replace(before, confirmed_by=life.confirmed_by) if before.is_group else _followed(before, life)
        if not row.told:
            self.save(subject, row)
            if not self._is_held(life) or observed.kind in ("ack", "note"):
                self._tell(subject, row, life, observed.id, observed.cause)
            row = subject.row or row
        elif not row.is_group:
            row = self._tell_openings(subject, row, before, observed)
            if row.suppressed_by and before.sole_reporter and not row.sole_reporter:
                # What suppresses it may be the word of one node, and this no longer is.
                self._tell(subject, replace(row, suppressed_by=None), life, observed.id, observed.cause)
                row = subject.row or row
        if life.act != row.act:
            row = self._with_dues(subject, _acted(row, life))
            more = {"by": life.act_by, "comment": life.act_comment}
            row = self.change(subject, row, "alertAcknowledged", observed.cause, **more)
        if observed.kind == "note":
            row = replace(row, by=observed.by, comment=observed.comment)
            row = self.change(subject, row, "alertNoted", observed.cause, by=row.by, comment=row.comment)
        if row != before:
            self.save(subject, row)

    def _tell_openings(self, subject: Subject, row: AlertRow, before: AlertRow, observed: Observation) -> AlertRow:
        event = observed.id if observed.cause == "event" else None
        is_worse = SEVERITIES.index(row.severity) > SEVERITIES.index(before.severity)
        if row.openings >= 2 * row.openings_told or is_worse:
            row = replace(row, openings_told=_told(row))
            row = self.change(subject, row, "alertRepeated", observed.cause, last_event=event)
        if row.flapping and not before.flapping:
            row = self.change(subject, row, "alertFlapping", observed.cause, last_event=event)
        return row

    def _close(self, subject: Subject, row: AlertRow, life: Life | None, observed: Observation) -> None:
        row = row.closed((life and life.until) or observed.ended_at)
        self.held.discard(row.id)
        more: dict[str, Any] = {"cause": observed.cause}
        if life:
            row = row if row.is_group else replace(row, openings=life.openings, since=life.since)
            if life.by or life.comment:
                row = replace(row, by=life.by, comment=life.comment)
            more = {"cause": life.cause, "by": life.by, "comment": life.comment, "last_event": life.closed_by or None}
        if row.suppressed or self.suppressing[row.id]:
            self.ended_parents.add(row.id)
        if not row.is_group and subject.policy.group_over is not None:
            self.thinned.add((row.rule, row.cluster))
        self.change(subject, row, "alertClosed", why="" if row.told else OVER, **more)

    def _set_quiet(self, subject: Subject) -> None:
        due = subject.lives.due
        if due == subject.quiet_at:
            return
        captured = max(filter(None, (self.times.captured, subject.latest)), default=due)
        subject.quiet_at = due
        subject.quiet_due = None
        if due and captured:
            subject.quiet_due = self.times.passed + max(0, milliseconds(due - captured))


def _told(row: AlertRow) -> int:
    """Return the number of openings that a change tells: of a group all, of others the largest power of two."""
    return row.openings if row.is_group else 1 << max(0, row.openings.bit_length() - 1)


def _followed(row: AlertRow, life: Life) -> AlertRow:
    """Return *row* with what *life* says now."""
    return replace(
        row,
        severity=life.severity,
        summary=life.summary,
        owner=life.owner,
        since=life.since,
        openings=life.openings,
        last_opening=life.last,
        flapping=life.flapping,
        confirmed_by=life.confirmed_by,
    )


def _acted(row: AlertRow, life: Life) -> AlertRow:
    """Return *row* after the last act of a person in *life*."""
    state: State = "acknowledged" if life.acknowledged else "open"
    return replace(row, state=state, act=life.act, by=life.act_by, comment=life.act_comment)
