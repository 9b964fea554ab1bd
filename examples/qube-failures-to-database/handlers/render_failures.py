"""Keeps failed jobs of a Qube farm in a database, a row for each event."""

from functools import cache

from sqlalchemy import Column, MetaData, String, Table, create_engine, insert, select

FAILURES = Table(
    "failures",
    MetaData(),
    *(Column(name, String, primary_key=name == "event") for name in ("event", "time", "job", "name", "user", "what")),
)


@cache
def engine(database):
    found = create_engine(database)
    FAILURES.metadata.create_all(found)
    return found


def store(event, id, name=None, user=None, *, database):
    row = {"event": event.id, "time": event.time, "job": str(id), "name": name, "user": user, "what": event.name}
    with engine(database).begin() as connection:
        # A delivery may be repeated after a crash: the event's id stays the same.
        if connection.execute(select(FAILURES.c.event).where(FAILURES.c.event == event.id)).first() is None:
            connection.execute(insert(FAILURES).values(row))
    return row["job"]
