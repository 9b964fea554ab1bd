"""The errors that deploying the shim to nodes raises on purpose.

NodesError
└── Unprepared   the files for one node cannot be made: the message says what is missing; other nodes are not affected
"""

from ...errors import RouterError


class NodesError(RouterError):
    """The root of the family."""


class Unprepared(NodesError):
    """The files for one node cannot be made."""
