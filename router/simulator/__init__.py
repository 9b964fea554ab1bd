"""A simulated GPFS cluster: it accepts callbacks, raises events, and runs the registered commands.

It is as strict as the known facts about GPFS allow.  Each module's docstring says what is known, what is recalled and
what was decided here.  Unknown details that affect the decoding of arguments are switches of `Behaviour`.

The whole project registers callbacks in this form (made by `router.cluster.callbacks.gpfs.wanted`):

    mmaddcallback clusterbus-<family> --command /usr/libexec/clusterbus/capture-gpfs --event a,b,c
                  --parms "%eventName --fsName %fsName --diskName %diskName ..."

The parameters are the event's name, then a flag and a variable for each value, free text last.  So capture gets the
source `gpfs`, the event `<eventName>`, and the pairs as its arguments.  A callback's command is one path, the same on
all nodes.  Here each node has its own root, `<state>/nodes/<name>/root`; a file in it overrides one of this machine.
"""

from .cluster_state import CallbackState
from .errors import CommandRefused, SimulatorError, StateUnusable
from .events.execution import Run
from .install import install, install_capture, register_all
from .simulated_cluster import Cluster
from .simulated_node import Node
from .switches import Behaviour

__all__ = [
    "Behaviour",
    "CallbackState",
    "Cluster",
    "CommandRefused",
    "Node",
    "Run",
    "SimulatorError",
    "StateUnusable",
    "install",
    "install_capture",
    "register_all",
]
