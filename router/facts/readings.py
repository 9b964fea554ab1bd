"""Parts of the facts: what one command said, and when it was last seen to say so.  Values only.

A part is named for what it is: `cluster`, `states`, `managers`, `file_systems`, `node_classes`, and for each file
system `disks/<name>` and `filesets/<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CLUSTER, STATES, MANAGERS = "cluster", "states", "managers"
FILE_SYSTEMS, NODE_CLASSES = "file_systems", "node_classes"
DISKS, FILESETS = "disks/", "filesets/"
"""What parts of a file system begin with."""

WHOLE = (CLUSTER, STATES, MANAGERS, FILE_SYSTEMS, NODE_CLASSES)
"""The parts that every cluster has."""

Content = Mapping[str, Any]
"""A part as plain values, as JSON has them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking for one part: its *content*, or None and the *reason*; both where a command half failed."""

    content: Content | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """One part as it is known: it is so *since* a moment, and was last seen to be so at *confirmed*.

    *content* is None where it never was known, or is no more there.  *reason* is why it could not be read since.
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
