"""Captures that could not be spooled: capture counts them in `lost`, one byte each, and the relay reports them once.

The relay writes down how many it reported only after the reports are in the spool.  A relay that is killed in between
reports the same losses twice, with the same total, but never omits one.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .capture import UNSAVED

if TYPE_CHECKING:
    from pathlib import Path

REASONS = {"f": "spool full", "d": "disk full", "e": "error; see syslog, or /run/clusterbus/unsaved"}
_REPORTED = "lost.reported"
_MOST = 1 << 20


@dataclass(frozen=True)
class Loss:
    """*count* captures lost for *reason*; *total* counts the losses since the spool was created, for all reasons."""

    reason: str
    count: int
    total: int


def tally(marks: bytes, total: int) -> list[Loss]:
    """Return the losses that *marks* count, after an earlier *total*.

    >>> tally(b"ffd", 10)
    [Loss(reason='spool full', count=2, total=12), Loss(reason='disk full', count=1, total=13)]
    """
    losses = []
    for mark, reason in REASONS.items():
        count = marks.count(mark.encode())
        if count:
            total += count
            losses.append(Loss(reason, count, total))
    return losses


class LostRecords:
    """The loss marks in *spool*, and in *run*, where capture writes them if it cannot reach the spool."""

    def __init__(self, spool: Path, run: Path) -> None:
        """Create `lost` with a disk block of its own, so that it can grow on a full disk; raises OSError."""
        self._files = {"spool": spool / "lost", "run": run / "lost"}
        self._reported = spool / _REPORTED
        self._unsaved = run / UNSAVED
        self._known_unsaved = 0
        self._offsets = {"spool": 0, "run": 0}
        self._total = 0
        with contextlib.suppress(FileExistsError):
            file = os.open(self._files["spool"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
            with open(file, "wb") as stream:  # noqa: PTH123 - a descriptor, not a path
                stream.write(b".")
                stream.flush()
                os.fsync(stream.fileno())
        self._read_reported()

    def unreported(self) -> list[Loss]:
        """Return the losses since the last `confirm_reported`."""
        self._read = dict(self._offsets)
        marks = b"".join(self._marks(name) for name in self._files)
        self._losses = tally(marks, self._total)
        return self._losses

    def newly_unsaved(self) -> int:
        """Return how many bytes there are in `unsaved`, which only root may read, if more than at the last call."""
        try:
            size = self._unsaved.lstat().st_size
        except OSError:
            size = 0
        grown = size > self._known_unsaved
        self._known_unsaved = size
        return size if grown else 0

    def confirm_reported(self) -> None:
        """Write to disk that the spool holds the reports of what `unreported` last returned; raises OSError."""
        total = self._losses[-1].total if self._losses else self._total
        new = self._reported.with_name(_REPORTED + ".new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        with open(file, "w", encoding="ascii") as stream:  # noqa: PTH123 - a descriptor, not a path
            json.dump({"offsets": self._read, "total": total}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self._reported)
        self._offsets, self._total = self._read, total

    def _marks(self, name: str) -> bytes:
        try:
            file = os.open(self._files[name], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""  # missing or not readable: there are no marks to report
        with open(file, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
            if os.fstat(file).st_size < self._offsets[name]:
                self._offsets[name] = 0  # a new file, for example after a reboot
            stream.seek(self._offsets[name])
            marks = stream.read(_MOST)
        self._read[name] = self._offsets[name] + len(marks)
        return marks

    def _read_reported(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            reported = json.loads(self._reported.read_text(encoding="ascii"))
            offsets = {name: int(reported["offsets"][name]) for name in self._files}
            self._total, self._offsets = int(reported["total"]), offsets
