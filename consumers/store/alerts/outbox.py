"""The outbox of alerts: changes whose events the broker does not have yet, and alerts where something is due."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import and_, bindparam, func, select, update
from sqlalchemy.engine import Connection

from ..schema.alert_tables import alerts, changes, keys
from .alert_rows import OPEN


def unpublished(transaction: Connection, limit: int) -> list[tuple[str, bytes]]:
    """Return up to *limit* changes that are to be published, each with its id and its event as JSON, oldest first."""
    waiting = changes.c.published.is_(None)
    query = (
        select(changes.c.id, changes.c.body).where(waiting).order_by(changes.c.at, changes.c.alert, changes.c.number)
    )
    return [(id_, body) for id_, body in transaction.execute(query.limit(limit))]


def mark_published(transaction: Connection, ids: Collection[str], at: datetime) -> None:
    """Write that the broker has the events of these changes."""
    if ids:
        here = update(changes).where(changes.c.id == bindparam("its_id")).values(published=at)
        transaction.execute(here, [{"its_id": each} for each in ids])


def oldest_unpublished(transaction: Connection) -> datetime | None:
    """Return when the oldest change was made that is not published; None if all are."""
    query = select(changes.c.at).where(changes.c.published.is_(None)).order_by(changes.c.at).limit(1)
    return transaction.execute(query).scalar_one_or_none()


def due_alerts(transaction: Connection, passed: int, limit: int) -> list[str]:
    """Return the keys of up to *limit* alerts where something is due, the longest due first."""
    query = select(alerts.c.key).where(alerts.c.next_due <= passed).order_by(alerts.c.next_due).limit(limit)
    return [*dict.fromkeys(transaction.scalars(query))]


def quiet_keys(transaction: Connection, passed: int, limit: int) -> list[str]:
    """Return up to *limit* keys whose alert closes by itself now."""
    query = select(keys.c.key).where(keys.c.quiet_due <= passed).order_by(keys.c.quiet_due).limit(limit)
    return [*transaction.scalars(query)]


def held_keys(transaction: Connection, limit: int) -> list[str]:
    """Return the keys of up to *limit* alerts that were not told yet, because a backlog was being read."""
    held = and_(alerts.c.state.in_(OPEN), alerts.c.told.is_(False))
    return [*transaction.scalars(select(alerts.c.key).where(held).order_by(alerts.c.id).limit(limit))]


def keys_of_other_rules(transaction: Connection, rules: Collection[str], limit: int) -> list[str]:
    """Return the keys of up to *limit* open alerts whose rule is not among *rules*."""
    gone = and_(alerts.c.state.in_(OPEN), alerts.c.rule.not_in(sorted(rules)))
    return [*transaction.scalars(select(alerts.c.key).where(gone).limit(limit))]


def next_due(transaction: Connection) -> int | None:
    """Return the passed time at which something is due next; None if nothing is."""
    found = [transaction.execute(select(func.min(each))).scalar_one() for each in (alerts.c.next_due, keys.c.quiet_due)]
    return min((each for each in found if each is not None), default=None)
