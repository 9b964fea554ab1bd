"""The package `clusterbus-node`: what `clusterbus nodes deploy` installs, except what differs from node to node.

Those are settings and secrets.
"""

import tempfile
from pathlib import Path

from router.cluster.nodes.capture_script import COMMAND
from router.cluster.nodes.files import File
from router.cluster.nodes.release import SHIM, Release

from .nfpm import Format, Package, pack

NAME = "clusterbus-node"
LICENCE = SHIM.parent / "LICENSE"


def build(form: Format, folder: Path, of: Release, moment: int) -> Path:
    """Write the package of the release *of* into *folder* and return its path; *moment* is the time in it.

    Raises Unreachable and Refused as `pack` does.
    """
    with tempfile.TemporaryDirectory(prefix="clusterbus-package-") as staged:
        for each in contents(of):
            stage(each, Path(staged))
        return pack(Package(NAME, of.version, "node"), form, Path(staged), folder, moment)


def contents(of: Release) -> tuple[File, ...]:
    """Return the files of a package: the release *of* the shim, the callback command, and example settings."""
    return (
        *of.files,
        File(COMMAND, of.script.encode(), 0o755),
        File("/etc/clusterbus/relay.conf", (SHIM / "units" / "relay.conf").read_bytes()),
        File(f"/usr/share/doc/{NAME}/copyright", LICENCE.read_bytes()),
    )


def stage(file: File, root: Path) -> None:
    """Write *file* below *root*."""
    path = root / file.path.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    path.chmod(file.mode)
