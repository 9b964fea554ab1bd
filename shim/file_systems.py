"""Whether a folder is on a file system of the network, such as GPFS, which hangs just when its events are needed."""

from __future__ import annotations

import os
from pathlib import Path

NETWORK = frozenset(
    (
        *("gpfs", "nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "beegfs", "afs", "9p", "panfs", "orangefs", "gfs2"),
        *("ocfs2", "glusterfs", "fuse.glusterfs", "fuse.ceph", "fuse.sshfs"),
    )
)
"""The types of such file systems, as the kernel names them; `router/network_folders.py` has the same."""

MOUNTS = Path("/proc/self/mountinfo")


def network_type(folder: Path, mounts: Path = MOUNTS) -> str:
    """Return the type of the network's file system that *folder* is on, an empty text for a local one."""
    path, nearest, found = os.path.realpath(folder), "", ""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        own, _, about = line.partition(" - ")
        mount = (own.split(" ") + [""] * 5)[4].replace("\\040", " ").rstrip("/")
        # Of several mounts on one folder, the last one counts.
        if f"{path}/".startswith(f"{mount}/") and len(mount) >= len(nearest):
            nearest, found = mount, about.partition(" ")[0]
    return found if found in NETWORK else ""
