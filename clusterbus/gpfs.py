"""GPFS callbacks from Python, in the manner of ArcaPix: `Callback`, `Cluster`, `Node`, `Filesystem`.

from clusterbus.gpfs import Cluster
"""

from consumers.gpfs import *  # noqa: F403 - the same names, by `__all__`
from consumers.gpfs import __all__ as __all__  # noqa: PLC0414 - re-exported
