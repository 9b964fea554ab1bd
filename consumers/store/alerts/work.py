"""Writing what a unit of work has made of alerts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import bindparam, case, delete, insert, update
from sqlalchemy.engine import Connection

from router.database.column_types import inserting
from router.model.catalogue import Catalogues

from ...alerts.alert_row import AlertRow
from ...alerts.life.changes import Change, milliseconds
from ...alerts.life.subject import Subject
from ...alerts.life.unit_of_work import UnitOfWork
from ..schema.alert_tables import alerts, changes, keys, observations
from . import observed
from .alert_rows import OPEN, values
from .subjects import has_open_members

RELEASE = timedelta(minutes=1)
"""How long after the end of what suppressed an alert it is told if it is still open: most end with it."""


def write(transaction: Connection, work: UnitOfWork, catalogues: Catalogues) -> list[tuple[str, bytes]]:
    """Write the rows, observations and changes of *work*; events of changes are made with *catalogues*.

    Return the changes that are to be published, each with its id and its event as JSON.
    """
    work.finish()
    observed.keep(transaction, ((key, each) for (key, _), each in work.observations.items()))
    subjects = [work.subjects[key] for key in work.touched]
    _write_keys(transaction, subjects)
    _write_alerts(transaction, work.rows.values())
    if work.suppressing:
        more = alerts.c.suppressed + bindparam("more")
        counted = update(alerts).where(alerts.c.id == bindparam("its_id")).values(suppressed=more)
        transaction.execute(counted, [{"its_id": id_, "more": count} for id_, count in work.suppressing.items()])
    made = [(each, None if each.why else each.event(catalogues).to_json()) for each in work.changes]
    if made:
        transaction.execute(insert(changes), [_change(each, body) for each, body in made])
    _release(transaction, work)
    _end_groups(transaction, work)
    return [(each.id, body) for each, body in made if body is not None]


def _write_keys(transaction: Connection, subjects: Iterable[Subject]) -> None:
    rows = []
    for each in subjects:
        each.compact()
        rows.append(_key(each))
        if each.dropped:
            here = (observations.c.key == each.key, observations.c.id == bindparam("its_id"))
            transaction.execute(delete(observations).where(*here), [{"its_id": id_} for id_ in each.dropped])
    if rows:
        transaction.execute(_keeping_keys(transaction.dialect.name), rows)


@cache
def _keeping_keys(dialect: str) -> Any:  # noqa: ANN401 - as `inserting`
    """Return what writes keys; it takes longer to build than to execute."""
    statement = inserting(dialect, keys)
    changed = {name: statement.excluded[name] for name in ("policy", "base", "latest", "quiet_at", "quiet_due")}
    return statement.on_conflict_do_update(index_elements=["key"], set_=changed)


def _key(subject: Subject) -> dict[str, object]:
    return {
        "key": subject.key,
        "rule": subject.rule,
        "cluster": subject.cluster,
        "about": json.dumps([*subject.about]),
        "policy": subject.policy.to_json(),
        "base": subject.base,
        "latest": subject.latest,
        "quiet_at": subject.quiet_at,
        "quiet_due": subject.quiet_due,
    }


def _write_alerts(transaction: Connection, changed: Iterable[AlertRow]) -> None:
    rows = [values(each) for each in changed]
    if rows:
        # Other alerts may have counted themselves in `suppressed`.
        names = tuple(sorted(rows[0].keys() - {"id", "suppressed"}))
        transaction.execute(_keeping_alerts(transaction.dialect.name, names), rows)


@cache
def _keeping_alerts(dialect: str, names: tuple[str, ...]) -> Any:  # noqa: ANN401 - as `inserting`
    """Return what writes alerts, and these columns of those that exist."""
    statement = inserting(dialect, alerts)
    changed = {name: statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=["id"], set_=changed)


def _change(change: Change, body: bytes | None) -> dict[str, object]:
    return {
        "id": change.id,
        "alert": change.row.id,
        "number": change.row.change,
        "name": change.name,
        "at": change.at,
        "cause": change.cause,
        "by": change.by,
        "comment": change.comment,
        "why": change.why,
        "body": body,
        # What is not told is not published either.
        "published": change.at if change.why else None,
    }


def _release(transaction: Connection, work: UnitOfWork) -> None:
    """Have those looked at again soon that ended alerts suppressed."""
    if work.ended_parents:
        due = work.times.passed + milliseconds(RELEASE)
        here = (alerts.c.suppressed_by == bindparam("its_parent"), alerts.c.state.in_(OPEN))
        soon = update(alerts).where(*here).values(tell_due=due, next_due=due)
        transaction.execute(soon, [{"its_parent": each} for each in sorted(work.ended_parents)])


def _end_groups(transaction: Connection, work: UnitOfWork) -> None:
    """Have groups looked at again whose last member is closed, after their time of quiet."""
    for where in work.thinned:
        group = work.surroundings.groups.get(where)
        row = group.row if group else None
        if group and row and row.tell_due is None and not has_open_members(transaction, *where):
            due = work.times.passed + milliseconds(group.quiet)
            sooner = case((alerts.c.next_due < due, alerts.c.next_due), else_=due)
            transaction.execute(update(alerts).where(alerts.c.id == row.id).values(tell_due=due, next_due=sooner))
