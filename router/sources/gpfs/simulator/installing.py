"""Puts capture on the simulated nodes, registers it, and makes the mm commands into programs.

On a real node `/usr/libexec/clusterbus/capture-gpfs` runs capture with the source `gpfs`; on a simulated one, a file
at the same path in the node's root does, with the node's own name and spool.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ....sections import GpfsSettings
from .. import capturing
from ..registrations import COMMAND, registrations
from .cluster import Cluster
from .commands import COMMANDS, mmaddcallback

STATE_VARIABLE = "CLUSTERBUS_SIMULATOR"

_REPOSITORY = Path(__file__).resolve().parents[4]
_SPOOL = ("tmp", "new", "bad", "kept")


def install_capture(
    cluster: Cluster,
    shim: Path | None = None,
    *,
    python: str = sys.executable,
    options: Sequence[str] = (),
) -> None:
    """Put capture on every node, as on a real one: spool folders, `capture.py`, and the command that callbacks name.

    *shim* is the folder with both, by default the project's own; *options* go before the source, such as `--wait 5`.
    """
    folder = shim or _REPOSITORY / "shim"
    for node in cluster.nodes:
        for name in _SPOOL:
            (node.spool / name).mkdir(parents=True, exist_ok=True)
        node.spool.chmod(0o2770)
        node.install(f"{COMMAND.rpartition('/')[0]}/capture.py", (folder / "capture.py").read_bytes())
        ours = ["--spool", str(node.spool), "--node", node.name, *options]
        node.install(COMMAND, capturing.written((folder / "capture_gpfs.py").read_text(encoding="utf-8"), python, ours))


def register_all(cluster: Cluster, *, everywhere: bool = False) -> list[str]:
    """Register capture for every default event, as the installer would; return the identifiers.

    Global events on the quorum nodes only, unless *everywhere*.
    """
    wanted = registrations(cluster.catalogue, GpfsSettings(global_nodes=()) if everywhere else None)
    for each in wanted:
        mmaddcallback(cluster, each.arguments(), lambda _: None)
    return [each.identifier for each in wanted]


def install(folder: Path, state: Path | None = None) -> None:
    """Write the mm commands into *folder* as programs, to be put first in PATH.

    They use the cluster in *state*; without it, the one that the environment variable CLUSTERBUS_SIMULATOR names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    where = [] if state is None else ["--state", str(state.absolute())]
    for name in COMMANDS:
        # -P: a folder `router` where the caller happens to stand is not ours.
        words = shlex.join([sys.executable, "-P", "-m", __package__, *where, name])
        path = shlex.quote(str(_REPOSITORY))
        program = folder / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {words} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
