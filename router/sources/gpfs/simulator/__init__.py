"""A simulated GPFS cluster: callbacks are registered with it, events are raised in it, and it runs what is registered.

It is as strict as the facts on GPFS allow.  Each module's docstring says what is known, what is recalled and what was
decided here; what matters to whoever decodes the arguments are the switches of `Behaviour`.

The convention by which the whole project registers (`router.sources.gpfs.registrations` makes it):

    mmaddcallback clusterbus-<family> --command /usr/libexec/clusterbus/capture-gpfs --event a,b,c
                  --parms "%eventName --fsName %fsName --diskName %diskName ..."

First the event's name, then a flag and the variable for each, free text last.  So capture gets the source `gpfs`, the
event `<eventName>`, and the pairs as its arguments.  A callback's command is one path, the same on all nodes; here
each node has a root of its own, `<state>/nodes/<name>/root`, and a file in it goes before one of this machine.
"""

from .behaviours import Behaviour
from .cluster import Cluster
from .errors import CommandRefused, SimulatorError, StateUnusable
from .installing import install, install_capture, register_all
from .node import Node
from .processes import Run
from .state import CallbackState

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
