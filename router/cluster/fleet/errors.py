"""The errors that running a command on many nodes raises on purpose.

FleetError
├── InvalidNodeSet   a text names no nodes, or more nodes than one command may have
├── GroupsUnknown    the site's node groups cannot be looked up now: another attempt may succeed
└── RoundLost        the process that runs the command on the nodes ended without reporting
"""

from ...errors import RouterError


class FleetError(RouterError):
    """The root of the family."""


class InvalidNodeSet(FleetError):
    """A text names no nodes, or more nodes than one command may have."""


class GroupsUnknown(FleetError):
    """The site's node groups cannot be looked up now: another attempt may succeed."""


class RoundLost(FleetError):
    """The process that runs the command on the nodes ended without reporting."""
