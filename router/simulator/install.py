"""Installs capture on the simulated nodes, registers it, and writes the mm commands as programs.

On a real node, `/usr/libexec/clusterbus/capture-gpfs` runs capture with the source `gpfs`.  On a simulated node, a file
at the same path in the node's root does this, with the node's own name and spool.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from .. import interpreter
from ..cluster.callbacks.gpfs.wanted import registrations
from ..cluster.nodes import capture_script
from ..cluster.nodes.capture_script import COMMAND
from ..settings.models import GpfsSettings
from .commands import COMMANDS
from .commands.callback_commands import mmaddcallback
from .simulated_cluster import Cluster

STATE_VARIABLE = "CLUSTERBUS_SIMULATOR"

_REPOSITORY = Path(__file__).resolve().parents[2]
_SPOOL = ("tmp", "new", "bad", "kept")


def install_capture(
    cluster: Cluster, shim: Path | None = None, *, python: str = interpreter.PROGRAM, options: Sequence[str] = ()
) -> None:
    """Install capture on every node, as on a real one: spool folders, `capture.py`, and the callbacks' command.

    *shim* is the folder with both files, by default the project's own; *options* such as `--wait 5` go before the
    source.
    """
    folder = shim or _REPOSITORY / "shim"
    for node in cluster.nodes:
        for name in _SPOOL:
            (node.spool / name).mkdir(parents=True, exist_ok=True)
        node.spool.chmod(0o2770)
        node.install(f"{COMMAND.rpartition('/')[0]}/capture.py", (folder / "capture.py").read_bytes())
        ours = ["--spool", str(node.spool), "--node", node.name, *options]
        node.install(
            COMMAND, capture_script.written((folder / "capture_gpfs.py").read_text(encoding="utf-8"), python, ours)
        )


def register_all(cluster: Cluster, *, everywhere: bool = False) -> list[str]:
    """Register capture for every default event, as `clusterbus callbacks apply` would; return the identifiers.

    Global events are registered on the quorum nodes only, unless *everywhere* is set.
    """
    wanted = registrations(cluster.catalogue, GpfsSettings(global_nodes=()) if everywhere else None)
    for each in wanted:
        mmaddcallback(cluster, each.arguments(), lambda _: None)
    return [each.identifier for each in wanted]


def install(folder: Path, state: Path | None = None) -> None:
    """Write the mm commands into *folder* as programs; put that folder first in PATH.

    They use the cluster in *state*, or without it the one that the variable CLUSTERBUS_SIMULATOR names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    where = [] if state is None else ["--state", str(state.absolute())]
    for name in COMMANDS:
        words = shlex.join(interpreter.module(__package__, *where, name))
        path = shlex.quote(str(_REPOSITORY))
        program = folder / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {words} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
