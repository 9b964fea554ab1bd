"""The tables of failures that are counted, and of stops: subscriptions that wait for a person to let them go on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.engine import Connection

from router.database.column_types import inserting

from ..schema import failures
from ..schema import stops as table


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop: why and *at* which failure (*event_id*); who *resumed* it, and when its reports were published."""

    id: str
    subscription: str
    cluster: str
    node: str
    event: str
    event_id: str
    at: datetime
    reason: str
    reported: datetime | None = None
    resumed: datetime | None = None
    by: str = ""
    comment: str = ""
    resume_reported: datetime | None = None


def fail(transaction: Connection, subscription: str, mark: str, at: datetime) -> None:
    """Count the failure of the attempt with this *mark*, once."""
    statement = inserting(transaction.dialect.name, failures).on_conflict_do_nothing()
    transaction.execute(statement, {"subscription": subscription, "at": at, "mark": mark})


def failed(transaction: Connection, subscription: str, since: datetime) -> int:
    """Return how many attempts of *subscription* failed after *since*."""
    here = (failures.c.subscription == subscription) & (failures.c.at > since)
    return transaction.execute(select(func.count()).select_from(failures).where(here)).scalar_one()


def stop(transaction: Connection, stopped: Stop) -> None:
    """Write that a subscription is stopped."""
    transaction.execute(insert(table), asdict(stopped))


def latest(transaction: Connection, subscription: str) -> Stop | None:
    """Return the latest stop of *subscription*, which may be over; None if it never stopped."""
    query = select(table).where(table.c.subscription == subscription).order_by(table.c.at.desc(), table.c.id.desc())
    row = transaction.execute(query.limit(1)).mappings().one_or_none()
    return None if row is None else Stop(**row)


def stopped(transaction: Connection) -> list[Stop]:
    """Return the stops that are not over, oldest first."""
    here = (table.c.resumed.is_(None), table.c.resume_reported.is_(None))
    query = select(table).where(*here).order_by(table.c.at, table.c.id)
    return [Stop(**row) for row in transaction.execute(query).mappings()]


def resume(transaction: Connection, subscription: str, by: str, comment: str, at: datetime) -> bool:
    """Write who lets *subscription* go on; return False if it is not stopped."""
    here = (table.c.subscription == subscription) & table.c.resumed.is_(None)
    values = {"resumed": at, "by": by, "comment": comment}
    return transaction.execute(update(table).where(here).values(values)).rowcount > 0


def unreported(transaction: Connection) -> list[Stop]:
    """Return the stops of which something has not been published, oldest first."""
    is_resumed = table.c.resumed.is_not(None) & table.c.resume_reported.is_(None)
    query = select(table).where(or_(table.c.reported.is_(None), is_resumed)).order_by(table.c.at)
    return [Stop(**row) for row in transaction.execute(query).mappings()]


def mark_reported(transaction: Connection, stop_id: str, column: str, at: datetime) -> None:
    """Write that the stop (*column* `reported`), or its end (`resume_reported`), is published."""
    transaction.execute(update(table).where(table.c.id == stop_id).values({column: at}))
