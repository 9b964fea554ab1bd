"""What putting the shim on nodes raises on purpose.

NodesError
└── Unprepared   a node cannot be given what it needs: the others can; the message says what is lacking
"""

from ..errors import RouterError


class NodesError(RouterError):
    """The root of the family."""


class Unprepared(NodesError):
    """A node cannot be given what it needs."""
