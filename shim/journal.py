"""Which record got which sequence number: decided in memory, on the disk before anything is sent.

A node's sequence has no holes and no number is given twice, wherever the relay is killed: a number counts from the
moment its line is synced, a line without its newline never happened, and a record that is met again (after a kill,
or because its removal was lost with the power) has the number that it had.

The file: `epoch <ULID>`, `base <next>`, then `<sequence> <name>` lines.  Lines below the base are what was left over
when the journal was last rewritten; from the base on, numbers follow one another.  It is filled up with blanks, which
are overwritten: its size and its blocks never change.  So a batch of numbers costs one write of data and no commit of
the file system's own journal, which a thousand removals would have to be part of; and numbers can be given when the
disk is full, when nobody but the relay will make room; for the same reason the file that the next rewriting will need
is always there.
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
ASIDE = "journal.new"
_OLD = "journal.old"
SIZE = 1 << 20
_BLANK = b"  "
_BATCH = 100_000  # more than the lines of one batch need
_EPOCH = re.compile(rb"epoch ([0-7][0-9A-HJKMNP-TV-Z]{25})\Z")
_BASE = re.compile(rb"base ([1-9][0-9]{0,18})\Z")
_LINE = re.compile(rb"([1-9][0-9]{0,18}) ([\x21-\x7e]{1,200})\Z")


class JournalDamaged(Exception):
    """The journal is not what a relay wrote, and not merely torn: its numbers cannot be relied on."""


@dataclass
class Numbers:
    """The numbers of one epoch: the next to be given, and the records that have theirs."""

    epoch: str
    following: int = 1
    given: dict[str, int] = field(default_factory=dict)

    def assign(self, names: Sequence[str]) -> list[int]:
        """Return the numbers for *names*, which have none yet; they count only once `record` is called.

        >>> Numbers("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", following=7).assign(["a", "b"])
        [7, 8]
        """
        return list(range(self.following, self.following + len(names)))

    def record(self, names: Sequence[str], numbers: Sequence[int]) -> None:
        """Take note that *names* have *numbers*, now that this is on the disk."""
        self.given.update(zip(names, numbers))
        self.following += len(names)

    def text(self) -> bytes:
        """Return the journal that says all this."""
        lines = sorted((number, name) for name, number in self.given.items())
        return f"epoch {self.epoch}\nbase {self.following}\n".encode() + entries(
            [name for _, name in lines], [number for number, _ in lines]
        )


def entries(names: Sequence[str], numbers: Sequence[int]) -> bytes:
    """Return the lines that give *names* their *numbers*."""
    return "".join(f"{number} {name}\n" for name, number in zip(names, numbers)).encode("ascii")


def parse(text: bytes) -> Numbers:
    r"""Return what the journal *text* says, up to the first blank space or the last newline.

    What follows a blank was part of a batch that was never synced as a whole: nothing of it was sent.  Raises
    JournalDamaged where the text is anything that no relay has written, torn or not.

    >>> parse(b"epoch 01KAG2V0M3Y8ZT6Q4XJ5W9E7RB\nbase 3\n2 old\n3 new\n4 to      ").following
    4
    """
    lines = text.partition(_BLANK)[0].split(b"\n")[:-1]
    epoch = _EPOCH.match(lines[0]) if lines else None
    base = _BASE.match(lines[1]) if len(lines) > 1 else None
    if epoch is None or base is None:
        raise JournalDamaged("it does not begin with its epoch and its base")
    first = int(base[1])
    numbers = Numbers(epoch[1].decode(), first)
    last = 0
    for at, line in enumerate(lines[2:], 3):
        entry = _LINE.match(line)
        number = int(entry[1]) if entry else 0
        if entry is None or not last < number <= numbers.following:
            raise JournalDamaged(f"line {at} is {line[:100]!r}, after number {last}")
        last = number
        numbers.given[entry[2].decode()] = number
        if number == numbers.following:
            numbers.following += 1
    if len(numbers.given) != len(lines) - 2:
        raise JournalDamaged("a name is in it twice")
    return numbers


def recall(folder: int) -> Numbers:
    """Return what the journal in the open *folder* says; raises FileNotFoundError, JournalDamaged and OSError."""
    file = os.open(JOURNAL, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with open(file, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
        return parse(stream.read())


class Journal:
    """The numbers, and the file that keeps them.  *folder* is the spool, opened; the caller holds its lock."""

    def __init__(self, folder: int, numbers: Numbers) -> None:
        """Begin with *numbers*; nothing is on the disk until `rewrite`."""
        self.numbers = numbers
        self._folder = folder
        self._file: int | None = None
        self._left = 0

    @property
    def grown(self) -> bool:
        """Whether it has to be rewritten: full, or not known to be whole after an error."""
        return self._file is None or self._left < _BATCH

    def number(self, names: Sequence[str]) -> list[int]:
        """Return the numbers of *names*, all of them on the disk; those without get the next ones, in this order.

        Raises OSError, and gives no number at all, where the disk does not take them.
        """
        given = self.numbers.given
        fresh = [name for name in names if name not in given]
        if fresh:
            numbers = self.numbers.assign(fresh)
            self._append(entries(fresh, numbers))
            self.numbers.record(fresh, numbers)
        return [given[name] for name in names]

    def forget(self, name: str) -> None:
        """Let go of the number of a record that was removed; the file keeps it until the journal is rewritten."""
        self.numbers.given.pop(name, None)

    def forget_all_but(self, wanted: Callable[[str], bool]) -> None:
        """Let go of the numbers of all records that are not *wanted*."""
        self.numbers.given = {name: number for name, number in self.numbers.given.items() if wanted(name)}

    def rewrite(self) -> None:
        """Write the journal anew, without what was forgotten: aside, synced, renamed.

        The caller has synced the removals: a record whose line is dropped must not come back.  Raises OSError where
        the disk does not take it; the file then says what it said, and no number is given before this has worked.
        """
        self.close()
        text = self.numbers.text()
        size = max(SIZE, len(text) + 2 * _BATCH)
        # Not truncated: it is the journal before this one, and its blocks are used again.
        aside = os.open(ASIDE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        try:
            _write(aside, text + b" " * (size - len(text)))
            os.ftruncate(aside, size)
            os.fsync(aside)
            self._replace()
        except OSError:
            os.close(aside)
            raise
        os.lseek(aside, len(text), os.SEEK_SET)
        self._file, self._left = aside, size - len(text)

    def _replace(self) -> None:
        """Put the new file in the old one's place, and keep the old one's blocks for the next time."""
        at = self._folder
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_OLD, dir_fd=at)
        with contextlib.suppress(FileNotFoundError):
            os.link(JOURNAL, _OLD, src_dir_fd=at, dst_dir_fd=at)
        os.rename(ASIDE, JOURNAL, src_dir_fd=at, dst_dir_fd=at)
        with contextlib.suppress(FileNotFoundError):
            os.rename(_OLD, ASIDE, src_dir_fd=at, dst_dir_fd=at)
        os.fsync(self._folder)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, text: bytes) -> None:
        if self._file is None:
            raise OSError("the journal has to be rewritten first")
        try:
            _write(self._file, text)
            os.fdatasync(self._file)
        except OSError:
            # What the disk holds now is not known.  The whole is written anew before the next number is given;
            # until then nothing is sent, so that none of these numbers is ever seen by anybody.
            self.close()
            raise
        self._left -= len(text)


def _write(file: int, text: bytes) -> None:
    while text:
        text = text[os.write(file, text) :]
