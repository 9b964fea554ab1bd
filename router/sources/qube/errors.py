"""Everything that registering with a Qube supervisor raises on purpose.

QubeError
├── FolderMissing   there is no folder for callbacks: Qube is not here, or `qube.callbacks` is wrong
├── Unsafe          an owner, a mode or a link would let a stranger say what the supervisor runs
├── ConfDamaged     our lines in callbacks.conf can't be told from the others'
├── Changed         it is no more as it was when the plan was made: plan again
└── NotWritten      a file could not be written or removed; what is left to do is a plan again
"""

from ...errors import RouterError


class QubeError(RouterError):
    """The root of the family."""


class FolderMissing(QubeError):
    """There is no folder for callbacks."""


class Unsafe(QubeError):
    """An owner, a mode or a link would let a stranger say what the supervisor runs."""


class ConfDamaged(QubeError):
    """Our lines in `callbacks.conf` can't be told from the others'."""


class Changed(QubeError):
    """Something is no more as it was when the plan was made."""


class NotWritten(QubeError):
    """A file could not be written or removed."""
