"""GPFS callbacks in Python, with the interface of the ArcaPix API: run a program or a function on an event.

    from clusterbus.gpfs import Callback, Cluster

    def logger(eventNode):
        with open("/tmp/shutdown.log", "a") as log:
            print(eventNode, "has shut down", file=log)

    Cluster().onShutdown.new(logger)

README.md in this folder describes how callbacks are stored, and the differences from that API.
"""

from .callback import Callback
from .cluster import Cluster, Node
from .errors import AlreadyThere, CallbackError, Invalid, NotDone, NotThere, UnknownKeyword, Unwritable
from .file_systems.disks import Disk
from .file_systems.file_system import Filesystem
from .file_systems.filesets import Fileset
from .file_systems.snapshots import Snapshot
from .site import get_cmd_cache, set_dry_run, use

setDryRun = set_dry_run  # noqa: N816 - the ArcaPix name
getCmdCache = get_cmd_cache  # noqa: N816 - as above

__all__ = [
    "AlreadyThere",
    "Callback",
    "CallbackError",
    "Cluster",
    "Disk",
    "Fileset",
    "Filesystem",
    "Invalid",
    "Node",
    "NotDone",
    "NotThere",
    "Snapshot",
    "UnknownKeyword",
    "Unwritable",
    "getCmdCache",
    "get_cmd_cache",
    "setDryRun",
    "set_dry_run",
    "use",
]
