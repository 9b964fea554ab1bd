"""Logging in to PostgreSQL: the password that a URL refers to, and what it means that the server refuses a login."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import URL

from .. import passwords, references
from ..errors import SettingsError
from .time_limits import TooSlow

_OPTION = "password"
_REFUSED = re.compile(
    r"password authentication failed|no password supplied|(peer|ident|certificate|GSSAPI) authentication failed"
    r"|no pg_hba\.conf entry|pg_hba\.conf rejects|role \"[^\"]*\" (does not exist|is not permitted to log in)"
    r"|permission denied for database|requires a valid client certificate",
    re.IGNORECASE,
)
_LOGIN_CLASS = "28"
"""The class of PostgreSQL's error codes for invalid logins."""


def reference(url: URL) -> str | None:
    """Return the reference in `?password=...` of *url*; None if it has none."""
    found = url.query.get(_OPTION)
    return found if isinstance(found, str) and references.is_reference(found) else None


def use_reference(engine: Engine, name: str, setting: str) -> None:
    """Let *engine* read the password that *name* refers to for each new connection, so that it may be replaced.

    Raises SettingsError if it cannot be read now; a connection raises it later.
    """
    passwords.of_reference(name, setting)

    @event.listens_for(engine, "do_connect")
    def _connecting(_dialect: object, _record: object, _words: object, options: dict[str, Any]) -> None:
        options[_OPTION] = passwords.of_reference(name, setting)


def is_refused(error: BaseException) -> bool:
    """Return whether *error*, of the driver, means that the server refuses the user or its password.

    >>> is_refused(Exception('connection failed: FATAL:  password authentication failed for user "router"'))
    True
    """
    code = getattr(error, "sqlstate", None)
    return (code or "").startswith(_LOGIN_CLASS) or _REFUSED.search(str(error)) is not None


def advice(error: BaseException | None, setting: str) -> str:
    """Return what to do about *error*, for which the database of *setting* cannot be used."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, SettingsError):
        return f"correct {setting}, or the file that it refers to"
    if isinstance(cause, TooSlow):
        return "check that the database, or the disk that it is on, answers: it may hang, or be cut off"
    if cause is None or not type(cause).__module__.startswith("psycopg"):
        return "check the space on its disk, and its owner and mode"
    if is_refused(cause):
        return f"check the user in {setting} and its password, and pg_hba.conf of the database"
    return "check that the database runs and has room, and that this machine can connect to it"
