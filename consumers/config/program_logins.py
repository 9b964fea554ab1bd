"""Passwords and certificates with which router and consumers log in: whether their system users may read them here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from router import references
from router.settings.models import Settings

from ..processes import executables
from ..processes.child_process import User

_DATABASES = {"router": (("router", "state"),), "consumers": (("consumers", "store"), ("facts", "store"))}


def unreadable(settings: Settings, section: str) -> list[tuple[str, str]]:
    """Return each setting whose file the program of *section* may not read, with the reason.

    The program runs as the system user with the name of its broker user, where this machine has that.  A file that
    does not exist may be on another machine.
    """
    name = getattr(settings, section).broker.user or ""
    try:
        user = User.named(name)
    except KeyError:
        return []
    return [
        (setting, f"the user {name} may not read {file}: run `clusterbus broker users --apply` as root, or chgrp it")
        for setting, file in _files(settings, section)
        if os.path.exists(file)  # noqa: PTH110 - `Path.exists` raises where this user may not look
        and not executables.access(file, os.R_OK, user)
    ]


def _files(settings: Settings, section: str) -> Iterator[tuple[str, Path]]:
    login = getattr(settings, section).broker
    for field in ("password_file", "certfile", "keyfile"):
        if file := getattr(login, field):
            yield f"{section}.broker.{field}", file
    for place, field in _DATABASES[section]:
        for file in _named(getattr(getattr(settings, place), field)):
            yield f"{place}.{field}", file


def _named(url: str) -> Sequence[Path]:
    """Return the file with the password of the database at *url*, if it names one."""
    found = parse_qs(urlsplit(url).query).get("password", [])
    return [
        Path(each.removeprefix(references.FILE))
        for each in found
        if references.is_reference(each) and each.startswith(references.FILE)
    ]
