"""The spool: the records that capture stored, read in the order of capture, removed once the broker has them.

The relay trusts no file in it.  A record is a regular file of limited size, with exactly the content that capture
would have written.  Any other file moves to `bad/` with its reason, and blocks nothing.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import logging
import os
import stat
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from .capture import ulid
from .folder_lock import take
from .journal import JOURNAL, Journal, JournalDamaged, Numbers, read_numbers
from .quarantine import Quarantine, exists
from .records import Record, Unreadable, captured_at, check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

log = logging.getLogger("clusterbus.relay.spool")

LARGEST = 8 << 20
"""The most bytes of a record: older releases of capture, which cut by the size before JSON, wrote up to these."""

FOLDERS = ("tmp", "new", "bad", "kept")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# Errors that the file itself causes.  Any other (a failing disk, no descriptors left) says nothing about the record.
_OF_THE_FILE = frozenset((errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV, errno.EISDIR))
# The most names in memory at once, whatever the number of files; a scan of 100,000 files takes 0.1 seconds.
_NAMES = 10_000
_LEFTOVER_AGE = 3600


class SpoolUnusable(Exception):
    """The spool is not usable; the message says what to do."""


class Taken(NamedTuple):
    """The result of `Spool.take`: records to send, and files that are not valid records, each with its reason."""

    records: list[Record]
    unreadable: list[tuple[str, str]]


class Spool:
    """One spool, locked by this process until `close`."""

    def __init__(self, path: Path, cluster: str) -> None:
        """Lock the spool at *path* and open its journal; its records belong to *cluster*.

        Raises SpoolUnusable if the spool does not exist, another relay uses it, or its journal cannot be written.
        """
        self.path = path
        self._cluster = cluster
        self.folder = _lock(path)
        self._new = os.open("new", _OPEN | os.O_DIRECTORY, dir_fd=self.folder)
        self._quarantine = Quarantine(self.folder)
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
        """Whether `take` has more files to read."""
        return bool(self._names) or self._scan_due

    def survey(self) -> tuple[int, float | None]:
        """Return the number of waiting files, and the time of the oldest capture, in seconds since 1970."""
        files, oldest = 0, None
        with os.scandir(self._new) as entries:
            for entry in entries:
                files += 1
                moment = captured_at(entry.name)
                if moment is not None and (oldest is None or moment < oldest):
                    oldest = moment
        return files, oldest

    def notice(self, names: Iterable[str]) -> None:
        """Add the new files *names* to those that `take` will read."""
        if len(self._names) >= _NAMES:
            self._scan_due = True
        if not self._scan_due:  # otherwise the scan finds them, in order
            self._names.extend(sorted(names))

    def rescan(self) -> None:
        """Scan the whole folder again, and retry the files that could not be removed or moved before."""
        self._scan_due = True
        self._immovable.clear()
        for name in list(self._unremoved):
            self._unremoved.discard(name)
            self.remove(name)

    def take(self, count: int, size: int) -> Taken:
        """Read the next *count* files, or until *size* bytes were read, and return the records with their numbers.

        The numbers are on disk when this returns.  Files that are not valid records are in `bad/`.  Raises OSError and
        takes no record if the numbers cannot be written; the caller may try again later.
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
            if self.journal.needs_rewrite:
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

        Does not sync: after a power cut the record may be sent again, with the same id and number.
        """
        try:
            os.unlink(name, dir_fd=self._new)
        except FileNotFoundError:
            pass
        except OSError as error:
            # It stays in `_held`, so that it is not sent again and again.
            self._unremoved.add(name)
            log.error("cannot remove a confirmed record", extra={"file": name, "error": str(error)})  # noqa: TRY400 - the sentence says it
            return
        self._held.pop(name, None)
        self.journal.forget(name)

    def set_aside(self, name: str, reason: str) -> bool:
        """Move the file *name* to `bad/` with its *reason*; return False if that fails."""
        self._held.pop(name, None)
        self.journal.forget(name)
        try:
            self._quarantine.take(name, self._new, reason)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._immovable.add(name)
            facts = {"file": name, "reason": reason, "error": str(error)}
            log.error("cannot move an invalid record to bad", extra=facts)  # noqa: TRY400 - the sentence says it
            return False
        log.error("invalid record moved to bad", extra={"file": name, "reason": reason})
        return True

    def clean(self) -> None:
        """Remove the files in `tmp/` that killed captures left more than an hour ago."""
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
        """Close the spool and release its lock."""
        self.journal.close()
        self._quarantine.close()
        os.close(self._new)
        os.close(self.folder)

    def _fresh(self) -> Iterator[str]:
        """Yield the names of files not yet taken: first those with a number, then the others by time."""
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
        """Return the content of the file *name*, or None if it no longer exists or cannot be read now."""
        try:
            file = os.open(name, _OPEN, dir_fd=self._new)
            try:
                facts = os.fstat(file)
                if not stat.S_ISREG(facts.st_mode):
                    raise Unreadable("it is not a regular file")
                if facts.st_size > LARGEST:
                    raise Unreadable(f"it has {facts.st_size} bytes, the limit is {LARGEST}")
                return os.read(file, facts.st_size + 1)
            finally:
                os.close(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _OF_THE_FILE:
                raise Unreadable(f"it cannot be opened: {error.strerror}") from error
            log.error("cannot read a record now", extra={"file": name, "error": str(error)})  # noqa: TRY400 - the sentence says it
            return None

    def _open_journal(self) -> Journal:
        journal = Journal(self.folder, self._read_numbers())
        journal.forget_all_but(partial(exists, folder=self._new))
        try:
            self._rewrite(journal)
            self._rewrite(journal)  # twice, so that an old file exists, whose blocks the next rewrite uses
        except OSError as error:
            raise SpoolUnusable(f"cannot write the journal in {self.path}: {error}; free disk space") from error
        return journal

    def _rewrite(self, journal: Journal) -> None:
        # A power cut could undo a removal that is not synced, and the record would get a second number.
        os.fsync(self._new)
        journal.rewrite()

    def _read_numbers(self) -> Numbers:
        try:
            return read_numbers(self.folder)
        except FileNotFoundError:
            log.info("no journal, starting a new epoch", extra={"spool": self.path})
        except (JournalDamaged, OSError) as error:
            log.error("journal is damaged, starting a new epoch", extra={"reason": str(error)})  # noqa: TRY400 - the sentence says it
            self._quarantine.take(JOURNAL, self.folder, f"it is not a valid journal: {error}")
        return Numbers(ulid(time.time_ns(), os.urandom(10)))


def _lock(path: Path) -> int:
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SpoolUnusable(
            f"no spool at {path}: {error.strerror}; create it: systemd-tmpfiles --create clusterbus.conf"
        ) from error
    try:
        # Lock the folder itself: everything inside it may be renamed or replaced.
        take(folder)
        for each in FOLDERS:
            # Check first, and create without the setgid bit, which the folder inherits from the spool: with
            # RestrictSUIDSGID in our unit, mkdir with that bit fails, even if the folder exists already.
            if not exists(each, folder):
                os.mkdir(each, 0o770, dir_fd=folder)
    except BlockingIOError as error:
        os.close(folder)
        raise SpoolUnusable(f"another relay uses the spool {path}: stop it first") from error
    except OSError as error:
        os.close(folder)
        raise SpoolUnusable(f"cannot prepare the spool {path}: {error}") from error
    return folder
