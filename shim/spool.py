"""The spool: what capture stored, read in the order of capture, removed once the broker has it.

Everything in it is taken for hostile: a file is a record only when it is a regular file, of bounded size, that says
exactly what capture would have said.  What is not goes to `bad/`, with the reason beside it, and holds up nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import heapq
import logging
import os
import stat
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from .bad import Bad, exists
from .capture import LARGEST, ulid
from .journal import JOURNAL, Journal, JournalDamaged, Numbers, recall
from .records import Record, Unreadable, captured_at, check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

log = logging.getLogger("clusterbus.relay.spool")

FOLDERS = ("tmp", "new", "bad", "kept")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# Errors that are the file's own.  Any other (a failing disk, no descriptors left) says nothing about the record.
_OF_THE_FILE = frozenset((errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV, errno.EISDIR))
# Names held in memory at once, however many files there are; a scan of 100,000 takes a tenth of a second.
_NAMES = 10_000
_LEFTOVER_AGE = 3600


class SpoolUnusable(Exception):
    """The spool cannot be used; the message says what to do."""


class Taken(NamedTuple):
    """What `Spool.take` found: records to send, and files that were no records, with the reasons."""

    records: list[Record]
    unreadable: list[tuple[str, str]]


class Spool:
    """One spool, held by this process alone until `close`."""

    def __init__(self, path: Path, cluster: str) -> None:
        """Take hold of the spool at *path* and of its journal; records are for *cluster*.

        Raises SpoolUnusable where there is none, it is held by another relay, or its journal cannot be written.
        """
        self.path = path
        self._cluster = cluster
        self.folder = _hold(path)
        self._new = os.open("new", _OPEN | os.O_DIRECTORY, dir_fd=self.folder)
        self._bad = Bad(self.folder)
        self._held: dict[str, None] = {}
        self._unremoved: set[str] = set()
        self._immovable: set[str] = set()
        self.journal = self._open_journal()
        numbered = sorted(self.journal.numbers.given.items(), key=lambda item: item[1])
        self._names = deque(name for name, _ in numbered)
        self._scan_due = True

    @property
    def epoch(self) -> str:
        """The id of this spool's life."""
        return self.journal.numbers.epoch

    @property
    def following(self) -> int:
        """The sequence number that the next new record gets."""
        return self.journal.numbers.following

    @property
    def more(self) -> bool:
        """Whether `take` has anything left to look at."""
        return bool(self._names) or self._scan_due

    def survey(self) -> tuple[int, float | None]:
        """Return how many files wait, and the moment of capture (seconds of the epoch) of the oldest record."""
        files, oldest = 0, None
        with os.scandir(self._new) as entries:
            for entry in entries:
                files += 1
                moment = captured_at(entry.name)
                if moment is not None and (oldest is None or moment < oldest):
                    oldest = moment
        return files, oldest

    def notice(self, names: Iterable[str]) -> None:
        """Take note that files of these *names* have come."""
        if len(self._names) >= _NAMES:
            self._scan_due = True
        if not self._scan_due:  # else the scan finds them, and in their order
            self._names.extend(sorted(names))

    def rescan(self) -> None:
        """Have the whole folder looked at again, and what could not be removed or moved before tried again."""
        self._scan_due = True
        self._immovable.clear()
        for name in list(self._unremoved):
            self._unremoved.discard(name)
            self._unlink(name)

    def take(self, count: int, size: int) -> Taken:
        """Look at the next *count* files, until *size* bytes were read, and return the records, each with its number.

        The numbers are on the disk by then.  What is no record has been set aside.  Raises OSError, and takes
        nothing in hand, where the numbers cannot be written: to be tried again later.
        """
        found: list[Record] = []
        unreadable = []
        for looked_at, name in enumerate(self._fresh(), 1):
            try:
                text = self._read(name)
                if text is not None:
                    found.append(check(name, text, self._cluster))
                    self._held[name] = None
                    size -= len(text)
            except Unreadable as error:
                if self.set_aside(name, str(error)):
                    unreadable.append((name, str(error)))
            if looked_at >= count or size <= 0:
                break
        return Taken(self._number(found), unreadable)

    def _number(self, found: list[Record]) -> list[Record]:
        if not found:
            return []
        try:
            if self.journal.grown:
                self._rewrite(self.journal)
            numbers = self.journal.number([record.name for record in found])
        except OSError:
            for record in reversed(found):
                del self._held[record.name]
                self._names.appendleft(record.name)
            raise
        return [record._replace(sequence=number) for record, number in zip(found, numbers)]

    def remove(self, name: str) -> None:
        """Remove the record *name*, which the broker has confirmed.

        It is not synced: should the power fail now, it is sent once more, under the same id and number.
        """
        self._unlink(name)

    def set_aside(self, name: str, reason: str) -> bool:
        """Move the file *name* to `bad/`, with the *reason* beside it; return False where that cannot be done."""
        self._held.pop(name, None)
        self.journal.forget(name)
        try:
            self._bad.take(name, self._new, reason)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._immovable.add(name)
            facts = {"file": name, "reason": reason, "error": str(error)}
            log.error("file is no record and cannot be moved away", extra=facts)  # noqa: TRY400 - the sentence says it
            return False
        log.error("file is no record, moved to bad", extra={"file": name, "reason": reason})
        return True

    def clean(self) -> None:
        """Remove what killed captures left in `tmp/` more than an hour ago."""
        tmp = os.open("tmp", _OPEN | os.O_DIRECTORY, dir_fd=self.folder)
        try:
            with os.scandir(tmp) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        facts = entry.stat(follow_symlinks=False)
                        if not stat.S_ISDIR(facts.st_mode) and facts.st_mtime < time.time() - _LEFTOVER_AGE:
                            os.unlink(entry.name, dir_fd=tmp)
                            log.info("leftover of a killed capture removed", extra={"file": entry.name})
        finally:
            os.close(tmp)

    def close(self) -> None:
        """Let go of the spool."""
        self.journal.close()
        self._bad.close()
        os.close(self._new)
        os.close(self.folder)

    def _fresh(self) -> Iterator[str]:
        """Yield the names that are not in hand: first those whose numbers were given before, then by time."""
        while True:
            while self._names:
                name = self._names.popleft()
                if name not in self._held and name not in self._immovable:
                    yield name
            if not self._scan_due:
                return
            self._scan_due = False
            self._names.extend(self._scan())
            self._scan_due = len(self._names) == _NAMES

    def _scan(self) -> list[str]:
        with os.scandir(self._new) as entries:
            names = (entry.name for entry in entries)
            return heapq.nsmallest(
                _NAMES, (name for name in names if name not in self._held and name not in self._immovable)
            )

    def _read(self, name: str) -> bytes | None:
        """Return what the file *name* holds, or None where it is gone, or cannot be read now."""
        try:
            file = os.open(name, _OPEN, dir_fd=self._new)
            try:
                facts = os.fstat(file)
                if not stat.S_ISREG(facts.st_mode):
                    raise Unreadable("it is no regular file")
                if facts.st_size > LARGEST:
                    raise Unreadable(f"it has {facts.st_size} bytes, a record has at most {LARGEST}")
                return os.read(file, facts.st_size + 1)
            finally:
                os.close(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _OF_THE_FILE:
                raise Unreadable(f"it cannot be opened: {error.strerror}") from error
            log.error("record cannot be read now", extra={"file": name, "error": str(error)})  # noqa: TRY400 - the sentence says it
            return None

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._new)
        except FileNotFoundError:
            pass
        except OSError as error:
            # It stays in hand, so that it is not sent again and again.
            self._unremoved.add(name)
            log.error("confirmed record cannot be removed", extra={"file": name, "error": str(error)})  # noqa: TRY400 - the sentence says it
            return
        self._held.pop(name, None)
        self.journal.forget(name)

    def _open_journal(self) -> Journal:
        journal = Journal(self.folder, self._recall())
        journal.forget_all_but(partial(exists, folder=self._new))
        try:
            self._rewrite(journal)
            self._rewrite(journal)  # again, so that there is an old one, whose blocks are those of the next
        except OSError as error:
            raise SpoolUnusable(f"the journal in {self.path} cannot be written: {error}; make room") from error
        return journal

    def _rewrite(self, journal: Journal) -> None:
        # A removal that is not on the disk could be undone by a power cut, and the record would get a second number.
        os.fsync(self._new)
        journal.rewrite()

    def _recall(self) -> Numbers:
        try:
            return recall(self.folder)
        except FileNotFoundError:
            log.info("no journal here, an epoch begins", extra={"spool": self.path})
        except (JournalDamaged, OSError) as error:
            log.error("journal is damaged, an epoch begins", extra={"reason": str(error)})  # noqa: TRY400 - the sentence says it
            self._bad.take(JOURNAL, self.folder, f"it is no journal: {error}")
        return Numbers(ulid(time.time_ns(), os.urandom(10)))


def _hold(path: Path) -> int:
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SpoolUnusable(
            f"no spool at {path}: {error.strerror}; systemd-tmpfiles --create clusterbus.conf makes it"
        ) from error
    try:
        # On the folder itself: it is the one thing in the spool that is never renamed or replaced.
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for each in FOLDERS:
            with contextlib.suppress(FileExistsError):
                os.mkdir(each, 0o2770, dir_fd=folder)
    except BlockingIOError as error:
        os.close(folder)
        raise SpoolUnusable(f"another relay holds the spool {path}: stop it first") from error
    except OSError as error:
        os.close(folder)
        raise SpoolUnusable(f"the spool {path} cannot be prepared: {error}") from error
    return folder
