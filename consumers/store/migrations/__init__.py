"""How a store of any earlier release is brought to this one's tables, by Alembic."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import inspect, select
from sqlalchemy.engine import Connection

from ..schema import VERSION
from ..schema import versions as table

_BEFORE_ALEMBIC = "store_version"
"""The table that said "1" in stores that were made before there was a second version."""


def version(transaction: Connection) -> str | None:
    """Return the version of the tables that are there; None where there are none."""
    tables = inspect(transaction)
    if tables.has_table(table.name):
        found: str | None = transaction.execute(select(table.c.version_num)).scalar()
        return found
    return "1" if tables.has_table(_BEFORE_ALEMBIC) else None


def upgrade(transaction: Connection) -> None:
    """Bring the tables to this release's, in this transaction."""
    # Only here: a store that is as it should be, which it is at nearly every start, needs none of it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    # It tells of each step, to whoever happens to open the store first.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = transaction
    if inspect(transaction).has_table(_BEFORE_ALEMBIC):
        command.stamp(config, "1")
        transaction.exec_driver_sql(f"DROP TABLE {_BEFORE_ALEMBIC}")
    command.upgrade(config, VERSION)
