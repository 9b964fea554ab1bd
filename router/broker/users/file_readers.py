"""Which system group may read the password file of each program's user, and repairing files that say otherwise.

The router reads its own password as the group of the same name, and so do consumers.  The operator's is for root alone.
The group of the relay, which is on every node, and which the commands of subscriptions once ran as, reads none of them.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_RELAY = "clusterbus"

_CLOSED = (0o600, 0o700)
"""The modes of a file that root alone reads, and of its folder."""

_SHARED = (0o640, 0o750)
"""The modes of a file that a group reads too, and of its folder."""


def _number(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


@dataclass(frozen=True, slots=True)
class Readers:
    """The numbers of the *groups* that may read the passwords of programs' users, and the group of the *relay*.

    A user with None has no such group on this machine; the users of *root* never have one.  For all others, such as
    nodes, root makes the files for itself, and changes none.
    """

    groups: Mapping[str, int | None] = field(default_factory=dict)
    root: frozenset[str] = frozenset()
    relay: int | None = None

    @classmethod
    def of_system(
        cls, programs: Collection[str], root: Collection[str], number: Callable[[str], int | None] = _number
    ) -> Self:
        """Return the readers on this machine: for each of *programs* its group, for each user of *root* none.

        If this process is not root, it gives files to nobody.
        """
        if os.geteuid() != 0:
            return cls()
        return cls({each: number(each) for each in programs}, frozenset(root), number(_RELAY))

    def wanted(self, user: str, *, is_folder: bool = False) -> tuple[int | None, int]:
        """Return the group of the file or folder of *user*, None for the one that it has, and the mode."""
        group = self.groups.get(user)
        return group, (_CLOSED if group is None else _SHARED)[is_folder]

    def mistakes(self, user: str, file: Path) -> list[str]:
        """Return what is wrong with the owner and mode of *file*, which exists, and of its folder, a phrase each."""
        if user not in self.groups and user not in self.root:
            return []
        found = [(each, self._mistake(user, each.lstat(), is_folder=each != file)) for each in (file, file.parent)]
        return [f"{each} {wrong}" for each, wrong in found if wrong]

    def repair(self, user: str, file: Path) -> None:
        """Give *file* and its folder to root, and to the group that may read them.  Raises OSError."""
        with _opened(file.parent, os.O_DIRECTORY) as folder, _opened(Path(file.name), os.O_NONBLOCK, folder) as found:
            for descriptor, is_folder in ((folder, True), (found, False)):
                group, mode = self.wanted(user, is_folder=is_folder)
                os.fchown(descriptor, 0, 0 if group is None else group)
                os.fchmod(descriptor, mode)

    def _mistake(self, user: str, status: os.stat_result, *, is_folder: bool) -> str:
        mode, group = stat.S_IMODE(status.st_mode), self.groups.get(user)
        others = {self.relay, *self.groups.values()} - {group}
        if status.st_uid != 0:
            return f"belongs to the user {status.st_uid}"
        if mode & stat.S_IRWXG and (user in self.root or status.st_gid in others):
            return f"is open to the group {_name(status.st_gid)}"
        # Any other group or mode is the site's.
        if group is not None and status.st_gid == 0 and mode == _CLOSED[is_folder]:
            return f"is closed to the group {_name(group)}"
        return ""


def _name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


@contextmanager
def _opened(path: Path, flags: int, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
