"""GPFS callbacks from Python, as the ArcaPix API has them: a program or a function that is run for an event.

    from consumers.gpfs import Callback, Cluster

    def logger(eventNode):
        with open("/tmp/shutdown.log", "a") as log:
            print(eventNode, "has shut down", file=log)

    Cluster().onShutdown.new(logger)

README.md beside this says what becomes of it, and what differs from that API.
"""

from .callback import Callback
from .cluster import Cluster, Filesystem, Node, Snapshot
from .errors import AlreadyThere, CallbackError, Invalid, NotDone, NotThere, UnknownKeyword, Unwritable
from .site import get_cmd_cache, set_dry_run, use

setDryRun = set_dry_run  # noqa: N816 - the seed's API
getCmdCache = get_cmd_cache  # noqa: N816 - idem

__all__ = [
    "AlreadyThere",
    "Callback",
    "CallbackError",
    "Cluster",
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
