"""Parts of the facts: the report of one command, and when it was last confirmed.  Values only.

The parts are `cluster`, `states`, `managers`, `file_systems` and `node_classes`, and for each file system
`disks/<name>` and `filesets/<name>`; if the usage is read, `pools/<name>` and `quotas/<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CLUSTER, STATES, MANAGERS = "cluster", "states", "managers"
FILE_SYSTEMS, NODE_CLASSES = "file_systems", "node_classes"
DISKS, FILESETS = "disks/", "filesets/"
"""The prefixes of the parts of a file system."""

POOLS, QUOTAS = "pools/", "quotas/"
"""The prefixes of those that are read only where the settings say so."""

WHOLE = (CLUSTER, STATES, MANAGERS, FILE_SYSTEMS, NODE_CLASSES)
"""The parts that every cluster has."""

Content = Mapping[str, Any]
"""A part as plain JSON values."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one part: its *content*, or None and a *reason*; both if a command failed in part."""

    content: Content | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """One part as stored: unchanged *since* a moment, and last *confirmed* at another.

    *content* is None if the part was never known or no longer exists.  *reason* is why it could not be read since.
    """

    part: str
    content: Content | None = None
    since: datetime | None = None
    confirmed: datetime | None = None
    reason: str = ""


def of_file_system(name: str) -> tuple[str, str]:
    """Return the names of the parts of the file system *name*.

    >>> of_file_system("gpfs1")
    ('disks/gpfs1', 'filesets/gpfs1')
    """
    return f"{DISKS}{name}", f"{FILESETS}{name}"


def usage_of_file_system(name: str) -> tuple[str, str]:
    """Return the names of the parts with the usage of the file system *name*.

    >>> usage_of_file_system("gpfs1")
    ('pools/gpfs1', 'quotas/gpfs1')
    """
    return f"{POOLS}{name}", f"{QUOTAS}{name}"
