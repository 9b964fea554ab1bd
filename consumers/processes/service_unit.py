"""The systemd unit of the consumer on this machine: the user that it runs as, and where it may write.

`clusterbus check` often runs as root, who may read and write everything; the consumer may not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .child_process import User

NAME = "clusterbus-consume.service"
FOLDERS = tuple(Path(each) for each in ("/usr/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"))
"""Where units are, the strongest last."""

_ROOTS = {"StateDirectory": "/var/lib", "LogsDirectory": "/var/log", "CacheDirectory": "/var/cache"}
_STRICT = "strict"


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit: its *user*, None for root or one that this machine lacks, and the folders that it may write to.

    `writable` is None if it may write everywhere.
    """

    user: User | None
    writable: tuple[Path, ...] | None

    def may_write(self, path: Path) -> bool:
        """Return whether the sandbox of the unit lets it write to *path*, an absolute path without links."""
        return self.writable is None or any(path.is_relative_to(each) for each in self.writable)


def installed() -> Unit | None:
    """Return the unit of this machine, None if it has none."""
    folders = FOLDERS
    main = next((found for each in reversed(folders) if (found := each / NAME).is_file()), None)
    if main is None:
        return None
    extra = {each.name: each for folder in folders for each in sorted((folder / f"{NAME}.d").glob("*.conf"))}
    lines = [line for each in (main, *(extra[name] for name in sorted(extra))) for line in _lines(each)]
    name = _last(lines, "User")
    try:
        user = User.named(name) if name and name != "root" else None
    except KeyError:
        user = None
    if _last(lines, "ProtectSystem") != _STRICT:
        return Unit(user, None)
    own = [Path(root) / each for key, root in _ROOTS.items() for each in _all(lines, key)]
    return Unit(user, (*own, *(Path(each.lstrip("-+")) for each in _all(lines, "ReadWritePaths"))))


def runs_as(name: str | None = None) -> User | None:
    """Return the user that runs what a consumer starts, for a check; None means the user of this process.

    That is the user *name*, and without one the consumer's: for root the user of its unit, if this machine has that.
    """
    try:
        user = User.named(name) if name else None
    except KeyError:
        return None
    if name is None and os.geteuid() == 0 and (unit := installed()):
        user = unit.user
    return user if user and user.user != os.geteuid() else None


def _lines(file: Path) -> list[tuple[str, str]]:
    try:
        text = file.read_text("utf-8", "replace").replace("\\\n", " ")
    except OSError:
        return []
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith(("#", ";", "[")))
    return [(key.strip(), value.strip()) for key, equals, value in pairs if equals]


def _last(lines: Iterable[tuple[str, str]], wanted: str) -> str:
    return next((value for key, value in reversed(list(lines)) if key == wanted), "")


def _all(lines: Iterable[tuple[str, str]], wanted: str) -> list[str]:
    found: list[str] = []
    for key, value in lines:
        if key == wanted:
            # An empty value clears what was set before.
            found = [*found, *value.split()] if value else []
    return found
