"""Which folders are on a file system of the network, such as GPFS: it can hang when its own events are needed most.

Nothing here touches a file system of the network: a look at one that hangs would hang too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

TYPES = frozenset(
    (
        *("gpfs", "nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "beegfs", "afs", "9p", "panfs", "orangefs", "gfs2"),
        *("ocfs2", "glusterfs", "fuse.glusterfs", "fuse.ceph", "fuse.sshfs"),
    )
)
"""The types of such file systems, as the kernel names them."""

MOUNTS = Path("/proc/self/mountinfo")

_ESCAPE = re.compile(r"\\([0-7]{3})")
_MOST_LINKS = 40


def warning(path: Path, mounts: Path | None = None) -> str:
    """Return why *path* should be elsewhere, if it is on a file system of the network; otherwise an empty text."""
    return about(path, file_system(path, mounts or MOUNTS))


def about(path: Path, kind: str) -> str:
    """Return why *path* should be elsewhere, if *kind*, the type of its file system, is one of the network."""
    if kind not in TYPES:
        return ""
    problem = f"{path} is on {kind}, a file system of the network"
    return f"{problem}: when it hangs, so do we, just when its events are needed most; use a local disk"


def file_system(path: Path, mounts: Path) -> str:
    """Return the type of the network's file system that *path* is on, which need not exist; empty for a local one."""
    try:
        types = dict(_mounted(mounts.read_text("utf-8", "surrogateescape")))
    except OSError:
        return ""
    there, kind, links = "", types.get("/", ""), 0
    rest = os.path.abspath(path).split("/")[1:]  # noqa: PTH100 - `resolve` would touch each part
    while rest:
        there = f"{there}/{rest.pop(0)}"
        kind = types.get(there, kind)
        target = "" if kind in TYPES or links == _MOST_LINKS else _link(there)
        if target:
            whole = os.path.abspath(os.path.join(os.path.dirname(there), target))  # noqa: PTH100, PTH118, PTH120 - as above
            there, kind, links = "", types.get("/", ""), links + 1
            rest = [*whole.split("/")[1:], *rest]
    return kind if kind in TYPES else ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - a text
    except OSError:
        return ""


def _mounted(text: str) -> Iterator[tuple[str, str]]:
    """Yield the folder and the type of each mount; of several on one folder, the last one counts."""
    for line in text.splitlines():
        own, separator, about = line.partition(" - ")
        words = own.split(" ")
        if separator and len(words) > 4:  # noqa: PLR2004 - the folder is the fifth word
            yield _ESCAPE.sub(lambda found: chr(int(found[1], 8)), words[4]), about.split(" ")[0]
