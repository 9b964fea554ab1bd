"""How the router, the facts and the consumers open their databases: SQLite or PostgreSQL, by URL."""

from .column_types import Plain, Word, inserting, plain_text
from .engines import PATIENCE, READS, engine, lock
from .opened import Opened
from .revisions import Revisions, bring_up
from .urls import exists, files, parsed, reason, shown

__all__ = [
    "PATIENCE",
    "READS",
    "Opened",
    "Plain",
    "Revisions",
    "Word",
    "bring_up",
    "engine",
    "exists",
    "files",
    "inserting",
    "lock",
    "parsed",
    "plain_text",
    "reason",
    "shown",
]
