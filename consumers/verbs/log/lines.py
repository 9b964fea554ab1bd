"""Write events as JSON lines to a file; lines stay complete despite other writers and crashes."""

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
from ...processes.job_files import sync_folder

_PATIENCE = 2.0
"""Seconds to wait for a lock: any reader of the file can lock it, and must not block the consumer."""

_BLOCK = 65536
_BEGINS = b'{"specversion"'


class LinesFile:
    """A file of JSON lines, opened to append.

    Safe with other processes that use this class, and with rotation: after a rename or removal, a new file is created.
    """

    def __init__(self, path: Path) -> None:
        """Write to *path*, which is opened for each batch."""
        self.path = path

    def append(self, deliveries: Iterable[Delivery]) -> None:
        """Write the events of *deliveries*, one line each; all lines are on disk when this returns.

        Raises OSError, for example if the disk is full or the file stays locked.  Then no incomplete line remains.
        """
        lines = b"".join(_line(each) for each in deliveries)
        with self._locked() as file:
            size = _repair(file)
            try:
                _write(file, lines)
                os.fsync(file)
                if size == 0:
                    sync_folder(self.path.parent)
            except OSError:
                # The lock is held, so nobody else has appended since: this removes only our own lines.
                with suppress(OSError):
                    os.ftruncate(file, size)
                raise

    @contextmanager
    def _locked(self) -> Iterator[int]:
        # O_NONBLOCK because a FIFO without a reader would block here forever; it does not affect a file.
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
        # The disk is full, or a limit on the file size is reached.
        raise OSError(errno.ENOSPC, f"only {written} of {len(lines)} octets were written")


def _lock(file: int, deadline: float, path: Path) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, "locked by another process", str(path)) from None
            time.sleep(0.002)
        else:
            return


def _repair(file: int) -> int:
    """Remove an incomplete last line that a killed writer left; return the size of the file.

    Its event has no outcome yet, so it will be written again.  If the line does not begin like a line of this class,
    another program wrote it: it is kept and gets a newline.
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
    """Return the offset of the last line."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
