"""How the router, the facts and the consumers open their databases: SQLite or PostgreSQL, by URL."""

from .column_types import Plain, Word, delete_found, inserting, plain_text
from .engines import PATIENCE, READS, engine, lock
from .opened import Opened, is_of_the_data
from .revisions import Revisions, bring_up
from .server_logins import advice
from .time_limits import LIMIT, LIMIT_OF_COMMANDS, TooSlow, within
from .urls import exists, files, parsed, place, reason, shown

__all__ = [
    "LIMIT",
    "LIMIT_OF_COMMANDS",
    "PATIENCE",
    "READS",
    "Opened",
    "Plain",
    "Revisions",
    "TooSlow",
    "Word",
    "advice",
    "bring_up",
    "delete_found",
    "engine",
    "exists",
    "files",
    "inserting",
    "is_of_the_data",
    "lock",
    "parsed",
    "place",
    "plain_text",
    "reason",
    "shown",
    "within",
]
