"""The errors that the simulator raises on purpose.

SimulatorError
├── CommandRefused   GPFS would refuse this, or the simulator cannot do it: change the command
└── StateUnusable    the state folder holds no cluster, or cannot be read or written
"""

from collections.abc import Iterable
from difflib import get_close_matches

from ..errors import RouterError


class SimulatorError(RouterError):
    """The root of the family."""


class CommandRefused(SimulatorError):
    """GPFS would refuse this, or the simulator cannot do it; the message says what is accepted."""


class StateUnusable(SimulatorError):
    """The state folder holds no cluster, or cannot be read or written."""


def near(name: str, known: Iterable[str]) -> str:
    """Return a hint with the names in *known* that are close to *name*, or an empty text.

    >>> near("nodeLeft", ["nodeLeave", "mount"])
    '; did you mean nodeLeave?'
    """
    spellings = {each.lower(): each for each in known}
    found = [spellings[each] for each in get_close_matches(name.lower(), spellings, n=2)]
    return f"; did you mean {' or '.join(found)}?" if found else ""
