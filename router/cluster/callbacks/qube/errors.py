"""The errors that registering with a Qube supervisor raises on purpose.

QubeError
├── FolderMissing   the folder for callbacks does not exist: Qube is not installed, or `qube.callbacks` is wrong
├── Unsafe          an owner, a mode or a link would let other users decide what the supervisor runs
├── ConfDamaged     our lines in callbacks.conf cannot be distinguished from other lines
├── Changed         something changed since the plan was made: plan again
└── NotWritten      a file could not be written or removed: plan again for the remaining steps
"""

from ....errors import RouterError


class QubeError(RouterError):
    """The root of the family."""


class FolderMissing(QubeError):
    """The folder for callbacks does not exist."""


class Unsafe(QubeError):
    """An owner, a mode or a link would let other users decide what the supervisor runs."""


class ConfDamaged(QubeError):
    """Our lines in `callbacks.conf` cannot be distinguished from other lines."""


class Changed(QubeError):
    """Something changed since the plan was made."""


class NotWritten(QubeError):
    """A file could not be written or removed."""
