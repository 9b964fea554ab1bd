"""URLs of databases, judged by their text and the file system: most commands need no more, and no SQLAlchemy."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from . import network_folders, redaction, references

_URL = re.compile(
    r"(?P<dialect>\w+)(?P<driver>\+\w+)?://(?:[^:/@]*(?::[^@]*)?@)?(?P<host>\[[^/?\]]*\]|[^:/?]*)(?::(?P<port>[0-9]*))?"
    r"(?:/(?P<name>[^?]*))?(?:\?.*)?"
)
_DRIVERS = {"sqlite": ("+pysqlite",), "postgresql": ("+psycopg", "+psycopg2")}
_SAMPLE = "sqlite:////var/lib/clusterbus/NAME.db or postgresql://HOST/NAME"
_MOST = 65535


def mistake(url: str) -> str:
    """Return why *url* is not the URL of an SQLite or PostgreSQL database, without its secrets; empty if it is one.

    >>> mistake("mysql://db.example/clusterbus")
    'the database mysql is not supported: write sqlite:////var/lib/clusterbus/NAME.db or postgresql://HOST/NAME'
    >>> mistake("postgresql://db.example/clusterbus")
    ''
    """
    found = _URL.fullmatch(url)
    if not found:
        return f"is not a database URL: write {_meant(url)}"
    dialect, driver = found["dialect"], found["driver"]
    if dialect not in _DRIVERS:
        return f"the database {dialect} is not supported: write {_SAMPLE}"
    if driver and driver not in _DRIVERS[dialect]:
        return f"the driver {driver[1:]} is not supported: write {dialect}://"
    if dialect == "sqlite" and (found["host"] or found["port"] is not None):
        return "names a host, which SQLite does not have: four slashes begin an absolute path, as in sqlite:////PATH"
    if dialect == "postgresql" and (wrong := _password_mistake(url)):
        return wrong
    too_large = int(found["port"] or 0) > _MOST
    return f"names the port {found['port']}, and the largest is {_MOST}" if too_large else ""


def holds_password(url: str) -> bool:
    """Say whether *url* has a password itself, instead of a reference to one.

    >>> holds_password("postgresql://bus:s3cret@db/bus"), holds_password("postgresql://bus@db/bus?password=env:WORD")
    (True, False)
    """
    return any(name == "password" for name, _ in redaction.secrets_of(url))


def _password_mistake(url: str) -> str:
    options = parse_qs(urlsplit(url).query).get("password", [])
    if any(references.looks_like_one(each) and not references.is_reference(each) for each in options):
        return "password= is not a reference: write password=file:/absolute/path or password=env:NAME"
    if any(map(references.is_reference, options)) and urlsplit(url).password is not None:
        return "has two passwords: omit the one before the @"
    return ""


def _meant(url: str) -> str:
    """Return what was probably meant by *url*, which is not one."""
    path = url.removeprefix("sqlite:").partition("?")[0]
    return f"sqlite:////{path.lstrip('/')}" if path.startswith("/") else f"one like {_SAMPLE}"


def file(url: str) -> Path | None:
    """Return the file of the SQLite database at *url*, existing or not; None for other databases, and in memory.

    >>> file("sqlite:////var/lib/clusterbus/store.db?timeout=5"), file("postgresql://db.example/clusterbus")
    (PosixPath('/var/lib/clusterbus/store.db'), None)
    """
    found = _URL.fullmatch(url)
    name = unquote(found["name"] or "") if found and found["dialect"] == "sqlite" else ""
    return Path(name) if name and name != ":memory:" and not name.startswith("file:") else None


def obstacle(url: str) -> str:
    """Return why no database can be at *url* on this machine; empty if one can, or on a file system of the network."""
    path = file(url)
    if path is None or network_folders.warning(path):
        return ""
    if os.path.isdir(path):  # noqa: PTH112 - `Path` raises for some texts
        return f"{path} is a folder: name a file in it"
    if not os.path.isdir(path.parent):  # noqa: PTH112 - as above
        return f"the folder {path.parent} does not exist: create it, or name a file in another one"
    return ""
