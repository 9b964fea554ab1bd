"""What the package for hubs holds, staged in a folder as for a build."""

import os
from pathlib import Path

from packages import hub_package
from router.cluster.nodes.release import release

MOMENT = 1_700_000_000
"""The time in it, in seconds since 1970."""


def stage(folder: Path, umask: int = 0o022) -> Path:
    """Write all of it into *folder*, as somebody with this *umask*; pip takes a minute for it."""
    before = os.umask(umask)
    try:
        hub_package.stage_all(folder, release(), MOMENT)
    finally:
        os.umask(before)
    return folder
