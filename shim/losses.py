"""Captures that could not be spooled: counted by capture in `lost`, one byte each, and told about by the relay, once.

How much was told is written down after the reports are safe in the spool: a relay that is killed in between tells it
twice, with the same total, and never not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

REASONS = {"f": "spool full", "d": "disk full", "e": "error; see syslog"}
_TOLD = "lost.reported"
_MOST = 1 << 20


@dataclass(frozen=True)
class Loss:
    """*count* captures were lost for *reason*; with them it is *total* in this spool's life, for all reasons."""

    reason: str
    count: int
    total: int


def tally(marks: bytes, total: int) -> list[Loss]:
    """Return what *marks* tell, when *total* was told before.

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


class Losses:
    """The marks of one spool, and of the folder where capture puts them when it cannot reach the spool."""

    def __init__(self, spool: Path, run: Path) -> None:
        """Have `lost` there, with a block of the disk of its own for when the disk is full; raises OSError."""
        self._files = {"spool": spool / "lost", "run": run / "lost"}
        self._told_at = spool / _TOLD
        self._offsets = {"spool": 0, "run": 0}
        self._total = 0
        with contextlib.suppress(FileExistsError):
            file = os.open(self._files["spool"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
            with open(file, "wb") as stream:  # noqa: PTH123 - a descriptor, not a path
                stream.write(b".")
                stream.flush()
                os.fsync(stream.fileno())
        self._recall()

    def news(self) -> list[Loss]:
        """Return what was lost since it was last told."""
        self._read = dict(self._offsets)
        marks = b"".join(self._marks(name) for name in self._files)
        self._news = tally(marks, self._total)
        return self._news

    def told(self) -> None:
        """Take note, on the disk, that what `news` last returned is safe in the spool; raises OSError."""
        total = self._news[-1].total if self._news else self._total
        aside = self._told_at.with_name(_TOLD + ".new")
        with aside.open("w", encoding="ascii") as stream:
            json.dump({"offsets": self._read, "total": total}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(self._told_at)
        self._offsets, self._total = self._read, total

    def _marks(self, name: str) -> bytes:
        try:
            file = os.open(self._files[name], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""  # not there, or not ours to read: nothing was marked that we could tell of
        with open(file, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
            if os.fstat(file).st_size < self._offsets[name]:
                self._offsets[name] = 0  # made anew, as after a reboot
            stream.seek(self._offsets[name])
            marks = stream.read(_MOST)
        self._read[name] = self._offsets[name] + len(marks)
        return marks

    def _recall(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            told = json.loads(self._told_at.read_text(encoding="ascii"))
            offsets = {name: int(told["offsets"][name]) for name in self._files}
            self._total, self._offsets = int(told["total"]), offsets
