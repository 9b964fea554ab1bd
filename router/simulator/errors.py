"""The errors that the simulator raises on purpose.

SimulatorError
├── CommandRefused   GPFS would refuse this, or the simulator cannot do it: change the command
└── StateUnusable    the state folder holds no cluster, or cannot be read or written
"""

from ..errors import RouterError


class SimulatorError(RouterError):
    """The root of the family."""


class CommandRefused(SimulatorError):
    """GPFS would refuse this, or the simulator cannot do it; the message says what is accepted."""


class StateUnusable(SimulatorError):
    """The state folder holds no cluster, or cannot be read or written."""
