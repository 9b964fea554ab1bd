"""The checks of `clusterbus doctor` on this node: its spool and its relay."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router import network_folders
from router.terminal_text import counted

from ..check_results import Finding

_OLD = timedelta(minutes=5)
_MANY = 10_000
_RUN = Path("/run/clusterbus")
_LAST = 2**36
"""A moment in the year 4147: what is later is no time that a relay has written."""
_LARGEST = 10_000
"""The most bytes that are read of what a relay says of itself."""


_SEE_RELAY = "see journalctl -u clusterbus-relay"


class _Report(BaseModel):
    """What a relay says of its connection; *since* and *until* are seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    broker: str
    problem: str
    since: int = Field(ge=0, le=_LAST)
    until: int = Field(ge=0, le=_LAST)


def spool(folder: Path, run: Path = _RUN) -> Iterator[Finding]:
    """Check this node's spool, and *run*, where capture counts what it could not store there."""
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
    yield from _full(folder / "full", len(waiting))
    if bad := sum(1 for entry in os.scandir(folder / "bad") if not entry.name.endswith(".reason")):
        yield Finding(
            "spool", "warning", f"{counted(bad, 'file')} in bad/", "read the .reason file of each, then remove both"
        )
    yield from _lost(folder / "lost", run / "lost")
    yield from _unsaved(run / "unsaved")
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


def _full(mark: Path, count: int) -> Iterator[Finding]:
    """Check for the mark of a capture that found no room; the next one removes it, once there is some."""
    with suppress(FileNotFoundError):
        moment = datetime.fromtimestamp(mark.lstat().st_ctime, UTC)
        if count:
            seen = (
                f"the spool had reached its limit at {moment:%Y-%m-%d %H:%M} UTC, with {counted(count, 'record')} now"
            )
            advice = (
                "have the relay send: until then callbacks are only in syslog; max_files and max_bytes set the limit"
            )
            yield Finding("spool", "error", seen, advice)


def _lost(*files: Path) -> Iterator[Finding]:
    lost = 0
    for file in files:
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            advice = "run this as root or as clusterbus"
            yield Finding("spool", "warning", f"{file}, the count of lost callbacks, cannot be read: {error}", advice)
        else:
            lost += sum(content.count(each) for each in (b"f", b"d", b"e"))
    if lost:
        advice = "search syslog for clusterbus-capture: it has each callback in full, with the reason"
        yield Finding("spool", "warning", f"{lost} callbacks could not be stored since the spool was created", advice)


def _unsaved(file: Path) -> Iterator[Finding]:
    """Check for the file of last resort: what neither the spool nor syslog took, a line for each callback."""
    with suppress(FileNotFoundError):
        if size := file.lstat().st_size:
            seen = f"neither the spool nor syslog took some callbacks: {size} bytes of them are in {file}"
            advice = f"read {file} as root, and move it elsewhere: it is gone after a reboot, and takes 4 MiB at most"
            yield Finding("spool", "error", seen, advice)


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
    """Check whether a relay serves the spool, and sends: a running relay holds a lock on the folder.

    What it says of its connection is in the file `connection` there.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        yield Finding("relay", "error", f"cannot open its spool: {error}", "run this as root or as clusterbus")
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield _connection(folder / "connection")
    else:
        yield Finding("relay", "error", "not running", "run systemctl start clusterbus-relay, or clusterbus up")
    finally:
        os.close(descriptor)


def _connection(file: Path) -> Finding:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
            says = _Report.model_validate_json(stream.read(_LARGEST))
    except (OSError, ValidationError) as error:
        reason = str(error) if isinstance(error, OSError) else f"{file} is not what a relay writes"
        seen = f"running, but it is not known whether it is connected: {reason}"
        return Finding("relay", "warning", seen, f"run this as root; if it stays so, {_SEE_RELAY}")
    since = f"{datetime.fromtimestamp(says.since, UTC):%Y-%m-%d %H:%M} UTC"
    if says.until < time.time():
        until = f"{datetime.fromtimestamp(says.until, UTC):%Y-%m-%d %H:%M} UTC"
        seen = f"running, but it hangs or cannot write: it should have written {file} by {until}"
        return Finding("relay", "error", seen, f"systemctl restart clusterbus-relay loses no record; {_SEE_RELAY}")
    if says.problem:
        seen = f"running, but it does not send to {says.broker or 'a broker'} since {since}: {says.problem}"
        advice = f"correct broker, password or certificates in relay.conf; {_SEE_RELAY}"
        return Finding("relay", "error", seen, advice)
    return Finding("relay", "ok", f"running, connected to {says.broker}" if says.broker else "running, idle")
