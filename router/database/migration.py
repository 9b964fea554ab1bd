"""Applies revisions with Alembic.  Imported only by an opening that has some to apply: most openings have none."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

_one = threading.Lock()
"""Alembic keeps the upgrade that runs in module variables, so that a process can run only one at a time."""


def upgrade(transaction: Connection, folder: Path, table: str, latest: str, *, unrecorded: str | None) -> None:
    """Bring the tables to the revision *latest* of those in *folder*, and write it to the version *table*.

    *unrecorded* is the revision of tables that have no version table yet.  Raises SQLAlchemyError.
    """
    # Alembic logs each step at INFO, in whatever command happens to open the database first.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    for option, path in (("script_location", Path(__file__).parent), ("version_locations", folder)):
        # The value is a template, in which % begins a name.
        config.set_main_option(option, str(path).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["configure"] = {"connection": transaction, "version_table": table}
    with _one:
        if unrecorded:
            command.stamp(config, unrecorded)
        command.upgrade(config, latest)
