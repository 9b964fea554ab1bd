"""The database under the facts' store: which there are, and how each is opened."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import SettingsError

READS = "facts_reads"
"""The execution option of a transaction that only looks: it waits for no writer."""

_PATIENCE = 5
"""Seconds to wait for another writer, and for a server to answer: less than a heartbeat, since whoever looks for the
first time is the broker's thread.
"""


def parsed(url: str) -> URL:
    """Return *url*; raises SettingsError where it is none of ours."""
    try:
        found = make_url(url)
    except ArgumentError as error:
        raise SettingsError("facts.store is no database URL: sqlite:////var/lib/clusterbus/facts.db is one") from error
    if found.get_backend_name() not in {"sqlite", "postgresql"}:
        raise SettingsError(
            f"facts.store {found.render_as_string()}: there are sqlite:///PATH and postgresql://HOST/NAME"
        )
    return found


def is_there(url: URL) -> bool:
    """Say whether there is anything at *url*: a file may not be made yet, a server is asked."""
    if url.get_backend_name() != "sqlite":
        return True
    return bool(url.database) and Path(str(url.database)).exists()


def engine(url: URL) -> Engine:
    """Return what connects to *url*."""
    if url.get_backend_name() == "postgresql":
        patience = {} if "connect_timeout" in url.query else {"connect_timeout": _PATIENCE}
        return create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args=patience)
    made = create_engine(url, connect_args={"timeout": _PATIENCE})

    # sqlite3 begins transactions when it thinks best, and two that read first would then fail each other.
    @event.listens_for(made, "connect")
    def _connected(connection, _record) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the driver's own
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(made, "begin")
    def _begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return made
