"""Database URLs: which ones are accepted, and how they are shown without their secrets."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url

from .. import database_urls, redaction
from ..errors import SettingsError
from .server_logins import is_refused


def parsed(url: str, setting: str) -> URL:
    """Return *url*, the value of *setting*.

    Raises SettingsError, without the password, if it is not the URL of an SQLite or PostgreSQL database.
    """
    if mistake := database_urls.mistake(url):
        raise SettingsError(f"{setting}: {mistake}")
    return make_url(url)


def shown(url: URL) -> str:
    """Return *url* without its secrets, for people."""
    return redaction.url(url.render_as_string(hide_password=False))


def reason(error: Exception, url: URL) -> str:
    """Return the driver's message about the database at *url*, without the secrets that drivers repeat."""
    secrets = [each for _, each in redaction.secrets_of(url.render_as_string(hide_password=False))]
    text = redaction.redact(redaction.scrubbed(str(error), secrets))
    return f"the database refuses the login: {text}" if is_refused(error) else text


def files(url: URL) -> tuple[Path, ...]:
    """Return the files of the database at *url* on this machine, existing or not: the database itself is the first.

    >>> [each.name for each in files(parsed("sqlite:////var/lib/clusterbus/store.db", "store"))]
    ['store.db', 'store.db-wal', 'store.db-shm']
    >>> files(parsed("postgresql://db.example/clusterbus", "store"))
    ()
    """
    name = database_urls.file(url.render_as_string(hide_password=False))
    return tuple(Path(f"{name}{end}") for end in ("", "-wal", "-shm")) if name else ()


def place(url: URL, host: str) -> str:
    """Return where the database at *url* is, for a comparison between machines; *host* is this one.

    >>> place(parsed("sqlite:////var/lib/router.db", "state"), "hub1")
    'hub1:/var/lib/router.db'
    >>> place(parsed("postgresql://me:secret@db.example:5433/bus", "state"), "hub1")
    'db.example:5433/bus'
    """
    if name := database_urls.file(url.render_as_string(hide_password=False)):
        return f"{host}:{Path(name).absolute()}"
    return f"{url.host or host}:{url.port or 5432}/{url.database}"


def exists(url: URL) -> bool:
    """Say whether there may be a database at *url*: False only for an SQLite file that does not exist."""
    return url.get_backend_name() != "sqlite" or bool(url.database and Path(url.database).exists())
