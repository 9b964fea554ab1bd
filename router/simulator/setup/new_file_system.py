"""The contents of a new file system of the simulated cluster: disks, filesets, quotas.  Pure.

Each file system has four disks in two failure groups and the pools system and data; the filesets root, projects,
scratch, home and cache (an AFM cache); and quotas for users, groups and filesets.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ..cluster_state import DiskState, FilesetState, QuotaState

HOME = "nfs://home.example/export/cache"

_DISKS = 4
_TERABYTE = 1 << 30
_FILESETS = ("root", "projects", "scratch", "home", "cache")
_USERS = (("root", 0), ("alice", 1001), ("bob", 1002))
_GROUPS = (("root", 0), ("science", 2001))


class FileSystemParts(NamedTuple):
    """The contents of one file system, by their keys in the state."""

    disks: dict[str, DiskState]
    filesets: dict[str, FilesetState]
    quotas: dict[str, QuotaState]


def new_file_system(name: str, place: int, servers: Sequence[str], moment: datetime) -> FileSystemParts:
    """Return the contents of the file system *name*, number *place* (from 0) of the cluster, created at *moment*.

    >>> from datetime import UTC
    >>> list(new_file_system("gpfs2", 1, ["nsd01"], datetime(2026, 11, 20, tzinfo=UTC)).disks)
    ['gpfs2/nsd5', 'gpfs2/nsd6', 'gpfs2/nsd7', 'gpfs2/nsd8']
    """
    disks = [_disk(name, place * _DISKS + number, servers) for number in range(_DISKS)]
    filesets = [_fileset(name, number, moment) for number in range(len(_FILESETS))]
    return FileSystemParts(
        {f"{name}/{each.name}": each for each in disks},
        {f"{name}/{each.name}": each for each in filesets},
        {f"{name}/{each.type}/{each.name}": each for each in _quotas(name)},
    )


def _disk(name: str, index: int, servers: Sequence[str]) -> DiskState:
    first = index % len(servers)
    return DiskState(
        name=f"nsd{index + 1}",
        file_system=name,
        number=index % _DISKS + 1,
        failure_group=index % 2 + 1,
        pool="system" if index % _DISKS < _DISKS // 2 else "data",
        size_kb=4 * _TERABYTE,
        servers=tuple(dict.fromkeys((servers[first], servers[(first + 1) % len(servers)]))),
        uid=f"0A000001{0x60000000 + index:08X}",
        metadata=index % _DISKS < _DISKS // 2,
    )


def _fileset(name: str, number: int, moment: datetime) -> FilesetState:
    fileset = _FILESETS[number]
    root = number == 0
    return FilesetState(
        name=fileset,
        file_system=name,
        number=number,
        root_inode=3 if root else 524_291 + number,
        path=f"/gpfs/{name}" if root else f"/gpfs/{name}/{fileset}",
        created=moment,
        parent=None if root else 0,
        comment="root fileset" if root else "",
        home=HOME if fileset == "cache" else "",
        most_inodes=100_000_000 if root else 0,
    )


def _quotas(name: str) -> list[QuotaState]:
    owners: list[tuple[QuotaState, bool]] = [
        *((QuotaState(file_system=name, type="USR", number=number, name=user), number > 0) for user, number in _USERS),
        *(
            (QuotaState(file_system=name, type="GRP", number=number, name=group), number > 0)
            for group, number in _GROUPS
        ),
        *(
            (QuotaState(file_system=name, type="FILESET", number=number, name=fileset), number > 0)
            for number, fileset in enumerate(_FILESETS)
        ),
    ]
    limits = {
        "block_usage": _TERABYTE // 2,
        "block_quota": _TERABYTE,
        "block_limit": _TERABYTE * 5 // 4,
        "files_usage": 500_000,
        "files_quota": 1_000_000,
        "files_limit": 1_250_000,
    }
    return [each.model_copy(update=limits) if limited else each for each, limited in owners]
