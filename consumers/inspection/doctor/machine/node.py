"""The checks of `clusterbus doctor` on this node: its spool and its relay."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from router import network_folders
from router.terminal_text import counted

from ..check_results import Finding

_OLD = timedelta(minutes=5)
_MANY = 10_000


def spool(folder: Path) -> Iterator[Finding]:
    """Check this node's spool."""
    if not folder.is_dir():
        yield Finding(
            "spool", "error", f"{folder} does not exist", "install the shim: the relay's tmpfiles entry creates it"
        )
        return
    missing = [each for each in ("tmp", "new", "bad", "kept") if not (folder / each).is_dir()]
    if missing:
        yield Finding(
            "spool",
            "error",
            f"{folder} lacks {', '.join(missing)}",
            "run systemd-tmpfiles --create, or start the relay",
        )
        return
    if message := network_folders.warning(folder):
        yield Finding("spool", "warning", message, "set another spool in relay.conf and shim.spool")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_IWOTH:
        yield Finding("spool", "error", f"{folder} is writable by all users (mode {mode:o})", f"chmod o-w {folder}")
    waiting = sorted(entry.name for entry in os.scandir(folder / "new"))
    yield _waiting(waiting)
    if bad := sum(1 for entry in os.scandir(folder / "bad") if not entry.name.endswith(".reason")):
        yield Finding(
            "spool", "warning", f"{counted(bad, 'file')} in bad/", "read the .reason file of each, then remove both"
        )
    yield from _lost(folder / "lost")
    yield from _room(folder)


def _waiting(names: list[str]) -> Finding:
    if not names:
        return Finding("spool", "ok", "no records wait")
    try:
        age = timedelta(seconds=max(0.0, time.time() - int(names[0].partition(".")[0]) / 1e9))
    except ValueError:
        age = timedelta()
    seen = f"{len(names)} records wait, the oldest for {str(age).partition('.')[0]}"
    if age > _OLD or len(names) > _MANY:
        return Finding("spool", "error", seen, "check that the relay runs and reaches the broker: see its log")
    return Finding("spool", "ok", seen)


def _lost(file: Path) -> Iterator[Finding]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return
    if lost := sum(content.count(each) for each in (b"f", b"d", b"e")):
        advice = "search syslog for clusterbus-capture: it has each callback in full, with the reason"
        yield Finding("spool", "warning", f"{lost} callbacks could not be stored since the spool was created", advice)


def _room(folder: Path) -> Iterator[Finding]:
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free < 100 * 2**20:
        yield Finding(
            "spool",
            "error",
            f"only {free // 2**20} MiB free under {folder}",
            "free some: else capture uses syslog only",
        )


def relay(folder: Path) -> Iterator[Finding]:
    """Check whether a relay serves the spool: a running relay holds a lock on the folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        yield Finding("relay", "error", f"cannot open its spool: {error}", "run this as root or as clusterbus")
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield Finding("relay", "ok", "running")
    else:
        yield Finding("relay", "error", "not running", "run systemctl start clusterbus-relay, or clusterbus up")
    finally:
        os.close(descriptor)
