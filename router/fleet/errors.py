"""What reaching many nodes raises on purpose.

FleetError
├── InvalidNodeSet   a text names no nodes, or more than can be meant
├── GroupsUnknown    the site's groups cannot be asked now: another attempt may find them
└── RoundLost        the process that asked the nodes did not live to tell
"""

from ..errors import RouterError


class FleetError(RouterError):
    """The root of the family."""


class InvalidNodeSet(FleetError):
    """A text names no nodes, or more than can be meant."""


class GroupsUnknown(FleetError):
    """The site's groups cannot be asked now: another attempt may find them."""


class RoundLost(FleetError):
    """The process that asked the nodes did not live to tell."""
