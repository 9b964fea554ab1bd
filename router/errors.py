"""Everything the router raises on purpose.

RouterError
├── SettingsError      the configuration cannot be used
├── UnknownEvent       the catalogue has no event of that name
├── InvalidTopic       a text is no topic, key or pattern
├── InvalidEvent       bytes are no event of ours
├── Rejection          a record cannot become an event: it is kept, with this reason
├── StateError         the router's state cannot be read or written: trying again may help
└── BrokerError
    ├── Unreachable    no connection: trying again may help
    └── Refused        the broker said no: trying again will not
"""

from collections.abc import Sequence


class RouterError(Exception):
    """The root of the family."""


class SettingsError(RouterError):
    """The configuration cannot be used."""


class UnknownEvent(RouterError):
    """The catalogue has no event of this name."""

    def __init__(self, source: str, name: str, *, near: Sequence[str] = ()) -> None:
        """Name *source* and *name*, and what is *near* in spelling."""
        self.source, self.name = source, name
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"{source} has no event {name!r}{hint}")


class InvalidTopic(RouterError):
    """A text is no topic, ingress key or pattern."""


class InvalidEvent(RouterError):
    """Bytes are no event of ours."""


class Rejection(RouterError):
    """A record cannot become an event; it is kept in `clusterbus.rejected` with this reason."""


class StateError(RouterError):
    """The router's state cannot be read or written: trying again may help."""


class BrokerError(RouterError):
    """Something between us and the broker."""


class Unreachable(BrokerError):
    """No connection: trying again may help."""


class Refused(BrokerError):
    """The broker said no: trying again will not help."""
