"""Moves the state of earlier releases to its place of today: `move-state`, which the package runs.

Once all of it was in `/var/lib/clusterbus`, the folder of one user.  Today router and consumer have users and folders
of their own.  What is moved belongs to its program's user afterwards; nothing is moved that a program has open.
"""

import os
import pwd
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

STATE = Path("/var/lib/clusterbus")
UNITS = Path("/etc/systemd/system")
MOVES = (
    ("router.db", "router", "clusterbus-router", "clusterbus-router.service"),
    ("store.db", "consumer", "clusterbus-consumer", "clusterbus-consume.service"),
    ("facts.db", "consumer", "clusterbus-consumer", "clusterbus-consume.service"),
    ("jobs", "consumer", "clusterbus-consumer", "clusterbus-consume.service"),
    ("recorded.jsonl", "consumer", "clusterbus-consumer", "clusterbus-consume.service"),
)
_BESIDE = ("-wal", "-shm", "-journal")


class Kept(Exception):
    """Something stays where it is, and why."""


def move(old: Path, new: Path, owner: tuple[int, int]) -> None:
    """Move *old* to *new* and give it to *owner*.  Raises Kept if it must stay where it is."""
    if os.path.lexists(new):
        raise Kept(f"{new} exists already")
    files = [old, *(beside for each in _BESIDE if os.path.lexists(beside := old.with_name(old.name + each)))]
    for each in files:
        found = each.lstat()
        if not (each == old and stat.S_ISDIR(found.st_mode)) and (
            not stat.S_ISREG(found.st_mode) or found.st_nlink != 1
        ):
            raise Kept(f"{each} is a link")
    if (old.parent / "environment").exists() and old.lstat().st_uid == 0:
        raise Kept("it belongs to clusterbus up")
    if holder := _holder(files):
        raise Kept(f"the process {holder} has it open: stop it, then run /usr/lib/clusterbus/move-state")
    if old.suffix == ".db":
        # The end of the last connection empties the files beside it, so one rename moves all.
        with closing(sqlite3.connect(old)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if left := [each for each in files[1:] if each.exists() and each.stat().st_size]:
            raise Kept(f"{left[0]} holds changes that could not be merged into it")
    _give(old, owner)
    old.rename(new)


def _give(path: Path, owner: tuple[int, int]) -> None:
    os.chown(path, *owner, follow_symlinks=False)
    if path.is_dir() and not path.is_symlink():
        for _, folders, files, folder in os.fwalk(path, follow_symlinks=False):
            for name in (*folders, *files):
                os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)


def _holder(paths: list[Path]) -> str:
    """Return the number of a process that has one of *paths* open, an empty text if there is none."""
    names = {str(path) for path in paths}
    for link in _opened():
        try:
            if str(link.readlink()) in names:
                return link.parts[2]
        except OSError:  # processes end at any moment
            continue
    return ""


def _opened() -> Iterator[Path]:
    return Path("/proc").glob("[0-9]*/fd/*")


def main(state: Path = STATE, units: Path = UNITS) -> int:
    """Move all; report what was moved and what was not; return 1 if something stays."""
    code = 0
    for name, folder, user, unit in MOVES:
        old, new = state / name, state / folder / name
        try:
            if _move(old, new, user, units / unit):
                sys.stderr.write(f"clusterbus: moved {old} to {new}, for the user {user}\n")
        except (Kept, OSError, sqlite3.Error) as error:
            sys.stderr.write(f"clusterbus: {old} stays where it is: {error}\n")
            code = 1
    return code


def _move(old: Path, new: Path, user: str, unit: Path) -> bool:
    if not os.path.lexists(old):
        return False
    if unit.is_file():
        raise Kept(f"{unit} is used, not the unit of the package: remove it, then run /usr/lib/clusterbus/move-state")
    try:
        known = pwd.getpwnam(user)
    except KeyError as error:
        raise Kept(f"there is no user {user}") from error
    # It belonged to the user of everything.  From here on nobody but root can change what is in it.
    os.chown(old.parent, 0, 0, follow_symlinks=False)
    old.parent.chmod(0o755)
    move(old, new, (known.pw_uid, known.pw_gid))
    return True


if __name__ == "__main__":
    sys.exit(main())
