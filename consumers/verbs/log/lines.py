"""Events as JSON lines in a file, whole lines only, whoever else writes and whatever kills us."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...deliveries import Delivery

_PATIENCE = 2.0
"""Seconds to wait for another writer: anybody who may read the file can lock it, and must not hang us."""

_BLOCK = 65536
_BEGINS = b'{"specversion"'


class LinesFile:
    """A file of JSON lines that is only appended to.

    Safe with other writers of this class in other processes, and with rotation: a file that was renamed or removed is
    left, and another made.
    """

    def __init__(self, path: Path) -> None:
        """Write to *path*; it is opened when there is something to write."""
        self.path = path

    def append(self, deliveries: Iterable[Delivery]) -> None:
        """Write the events of *deliveries*, one line each; all are on disk when this returns.

        Raises OSError, and then no half line is left behind; whole ones may be.
        """
        lines = b"".join(_line(each) for each in deliveries)
        with self._locked() as file:
            size = _mend(file)
            try:
                _write(file, lines)
                os.fsync(file)
                if size == 0:
                    _sync_folder(self.path.parent)
            except OSError:
                # Under the lock nobody has written behind us, so this takes back what is ours alone.
                with suppress(OSError):
                    os.ftruncate(file, size)
                raise

    @contextmanager
    def _locked(self) -> Iterator[int]:
        # A FIFO without a reader would block here for ever, hence NONBLOCK; on a file it means nothing.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        deadline = time.monotonic() + _PATIENCE
        while True:
            file = os.open(self.path, flags, 0o640)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise OSError(errno.EINVAL, "not a regular file", str(self.path))
                _lock(file, deadline, self.path)
                if self._is_current(file):
                    yield file
                    return
            finally:
                os.close(file)

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False


def _line(delivery: Delivery) -> bytes:
    body = delivery.event.to_json() if b"\n" in delivery.body else delivery.body
    return body + b"\n"


def _write(file: int, lines: bytes) -> None:
    written = os.write(file, lines)
    if written != len(lines):
        # What a disk that fills up, or a limit on the file's size, takes of it.
        raise OSError(errno.ENOSPC, f"only {written} of {len(lines)} octets were written")


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file survive a power cut as well."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _lock(file: int, deadline: float, path: Path) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, "locked by somebody else", str(path)) from None
            time.sleep(0.002)
        else:
            return


def _mend(file: int) -> int:
    """Take off a line that a killed writer left torn; return the size.

    Its events have no outcome yet, or this would be a whole line: they come again.  What does not begin as a line of
    ours is somebody else's: it is kept, and gets its newline.
    """
    size = os.fstat(file).st_size
    if size == 0 or os.pread(file, 1, size - 1) == b"\n":
        return size
    start = _last_line(file, size)
    if os.pread(file, len(_BEGINS), start) == _BEGINS[: size - start]:
        os.ftruncate(file, start)
        return start
    _write(file, b"\n")
    return size + 1


def _last_line(file: int, size: int) -> int:
    """Return where the last line begins."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
