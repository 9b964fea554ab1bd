"""The sequence number of each record: assigned in memory, and synced to disk before the relay sends the record.

The sequence of a node has no holes, and no number is assigned twice, even if the relay is killed at any moment.  A
number counts once its line is synced.  A line without a newline does not count.  A record that the relay finds again,
after a kill or because a power cut undid its removal, keeps its number.

The file has `epoch <ULID>`, `base <next>`, then `<sequence> <name>` lines.  Lines below the base are the records that
remained at the last rewrite; from the base on, numbers are consecutive.  Blanks fill the rest of the file, and new
lines overwrite them, so that its size and its blocks never change.  This has two advantages.  A batch of numbers costs
one write of data and no commit of the file system's own journal, which would have to include a thousand removals.  And
the relay can assign numbers on a full disk, where only the relay itself makes room.  For the same reason the file for
the next rewrite always exists.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Sequence

JOURNAL = "journal"
NEXT = "journal.new"
_OLD = "journal.old"
SIZE = 1 << 20
_BLANK = b"  "
_BATCH = 100_000  # bytes: more than the lines of one batch need
_EPOCH = re.compile(rb"epoch ([0-7][0-9A-HJKMNP-TV-Z]{25})\Z")
_BASE = re.compile(rb"base ([1-9][0-9]{0,18})\Z")
_LINE = re.compile(rb"([1-9][0-9]{0,18}) ([\x21-\x7e]{1,200})\Z")


class JournalDamaged(Exception):
    """No relay wrote this journal, and it is not merely incomplete: its numbers are not reliable."""


@dataclass
class Numbers:
    """The numbers of one epoch: the next one to assign, and those that records have."""

    epoch: str
    following: int = 1
    given: dict[str, int] = field(default_factory=dict)

    def assign(self, names: Sequence[str]) -> list[int]:
        """Return the numbers for *names*, which have none yet; call `record` to make them count.

        >>> Numbers("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", following=7).assign(["a", "b"])
        [7, 8]
        """
        return list(range(self.following, self.following + len(names)))

    def record(self, names: Sequence[str], numbers: Sequence[int]) -> None:
        """Record that *names* have *numbers*, once the disk holds them."""
        self.given.update(zip(names, numbers))
        self.following += len(names)

    def text(self) -> bytes:
        """Return the journal's content with these numbers."""
        lines = sorted((number, name) for name, number in self.given.items())
        return f"epoch {self.epoch}\nbase {self.following}\n".encode() + entries(
            [name for _, name in lines], [number for number, _ in lines]
        )


def entries(names: Sequence[str], numbers: Sequence[int]) -> bytes:
    """Return the lines that assign *numbers* to *names*."""
    return "".join(f"{number} {name}\n" for name, number in zip(names, numbers)).encode("ascii")


def parse(text: bytes) -> Numbers:
    r"""Return the numbers in the journal *text*, up to its first double blank or its last newline.

    What follows a blank belongs to a batch whose sync never finished: none of its records was sent.  Raises
    JournalDamaged if no relay can have written *text*, not even an interrupted one.

    >>> parse(b"epoch 01KAG2V0M3Y8ZT6Q4XJ5W9E7RB\nbase 3\n2 old\n3 new\n4 to      ").following
    4
    """
    lines = text.partition(_BLANK)[0].split(b"\n")[:-1]
    epoch = _EPOCH.match(lines[0]) if lines else None
    base = _BASE.match(lines[1]) if len(lines) > 1 else None
    if epoch is None or base is None:
        raise JournalDamaged("its first two lines are not its epoch and its base")
    first = int(base[1])
    numbers = Numbers(epoch[1].decode(), first)
    last = 0
    for at, line in enumerate(lines[2:], 3):
        entry = _LINE.match(line)
        number = int(entry[1]) if entry else 0
        if entry is None or not last < number <= numbers.following:
            raise JournalDamaged(f"line {at} is {line[:100]!r}, which cannot follow number {last}")
        last = number
        numbers.given[entry[2].decode()] = number
        if number == numbers.following:
            numbers.following += 1
    if len(numbers.given) != len(lines) - 2:
        raise JournalDamaged("it has the same name twice")
    return numbers


def read_numbers(folder: int) -> Numbers:
    """Return the numbers in the journal of the open *folder*; raises FileNotFoundError, JournalDamaged and OSError."""
    file = os.open(JOURNAL, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with open(file, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
        return parse(stream.read())


class Journal:
    """The numbers and the file that keeps them.  *folder* is the open spool; the caller holds its lock."""

    def __init__(self, folder: int, numbers: Numbers) -> None:
        """Start with *numbers*; the disk holds nothing until `rewrite`."""
        self.numbers = numbers
        self._folder = folder
        self._file: int | None = None
        self._left = 0

    @property
    def needs_rewrite(self) -> bool:
        """Whether `rewrite` must come first: the file is full, or its content is uncertain after an error."""
        return self._file is None or self._left < _BATCH

    def number(self, names: Sequence[str]) -> list[int]:
        """Return the numbers of *names*, all synced to disk; names without a number get the next ones, in this order.

        Raises OSError, and assigns no number, if they cannot be written.
        """
        given = self.numbers.given
        fresh = [name for name in names if name not in given]
        if fresh:
            numbers = self.numbers.assign(fresh)
            self._append(entries(fresh, numbers))
            self.numbers.record(fresh, numbers)
        return [given[name] for name in names]

    def forget(self, name: str) -> None:
        """Forget the number of the removed record *name*; the file keeps it until the next rewrite."""
        self.numbers.given.pop(name, None)

    def forget_all_but(self, wanted: Callable[[str], bool]) -> None:
        """Forget the numbers of all records that are not *wanted*."""
        self.numbers.given = {name: number for name, number in self.numbers.given.items() if wanted(name)}

    def rewrite(self) -> None:
        """Write the journal again without the forgotten records: to another file, which is synced, then renamed.

        The caller must have synced the removals: a record whose line is dropped must not come back.  Raises OSError if
        the write fails; then the old file remains, and no number is assigned until a rewrite succeeds.
        """
        self.close()
        text = self.numbers.text()
        size = max(SIZE, len(text) + 2 * _BATCH)
        # Not truncated: it is the previous journal, whose blocks are used again.
        new = os.open(NEXT, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        try:
            _write(new, text + b" " * (size - len(text)))
            os.ftruncate(new, size)
            os.fsync(new)
            self._replace()
        except OSError:
            os.close(new)
            raise
        os.lseek(new, len(text), os.SEEK_SET)
        self._file, self._left = new, size - len(text)

    def _replace(self) -> None:
        """Replace the old file with the new one, and keep the old one's blocks for the next rewrite."""
        at = self._folder
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_OLD, dir_fd=at)
        with contextlib.suppress(FileNotFoundError):
            os.link(JOURNAL, _OLD, src_dir_fd=at, dst_dir_fd=at)
        os.rename(NEXT, JOURNAL, src_dir_fd=at, dst_dir_fd=at)
        with contextlib.suppress(FileNotFoundError):
            os.rename(_OLD, NEXT, src_dir_fd=at, dst_dir_fd=at)
        os.fsync(self._folder)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, text: bytes) -> None:
        if self._file is None:
            raise OSError("the journal must be rewritten first")
        try:
            _write(self._file, text)
            os.fdatasync(self._file)
        except OSError:
            # Nobody knows what the disk holds now.  The next number needs a complete rewrite first; until then the
            # relay sends nothing, so that nobody ever sees one of these numbers.
            self.close()
            raise
        self._left -= len(text)


def _write(file: int, text: bytes) -> None:
    while text:
        text = text[os.write(file, text) :]
