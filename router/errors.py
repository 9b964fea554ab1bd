"""Everything the router raises on purpose.

RouterError
├── SettingsError      the configuration cannot be used
├── UnknownEvent       a catalogue has no event of that name, or several have one
├── UnknownVariable    an event type has no variable of that name
├── InvalidTopic       a text is not a topic, key or pattern
├── InvalidEvent       bytes are not an event of clusterbus
├── Rejection          a record cannot become an event: it is kept with this reason
├── StateError         the router's state cannot be read or written: another attempt may help
├── VersionError       the tables of a database are of a later release
│   └── NotUpgraded    the tables of a database are of an earlier release
└── BrokerError
    ├── Unreachable    no connection: another attempt may help
    ├── QueuesDown     queues exist that the broker cannot reach: another attempt may help
    └── Refused        the broker refused: another attempt does not help
        └── Denied     the user has no right to ask
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

_NONE: Mapping[str, str] = MappingProxyType({})


def did_you_mean(name: str, known: Iterable[str], aliases: Mapping[str, str] = _NONE, *, most: int = 2) -> str:
    """Return the end of a message about the unknown *name*: the most similar names, or an empty text.

    These are at most *most* of the *known* ones, and of those that *aliases* are other spellings of.

    >>> did_you_mean("frist", ["attempts", "first"]), did_you_mean("AGE", ["age", "ages"]), did_you_mean("x", ["age"])
    ('; did you mean first?', '; did you mean age?', '')
    """
    spellings = {each.lower(): each for each in sorted(known)} | {each.lower(): of for each, of in aliases.items()}
    word = name.lower()
    near = [word] if word in spellings else get_close_matches(word, spellings, n=most)
    listed = " or ".join(dict.fromkeys(spellings[each] for each in near))
    return f"; did you mean {listed}?" if listed else ""


def hint(name: str, known: Iterable[str]) -> str:
    """Return which of the *known* names may be meant by *name*.

    >>> hint("spol", ["spool", "node"]), hint("x", ["spool", "node"])
    ('did you mean spool?', 'there are spool, node')
    """
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


class RouterError(Exception):
    """The root of the family."""


class SettingsError(RouterError):
    """The configuration cannot be used."""


class UnknownEvent(RouterError):
    """A catalogue has no event of this name, or several catalogues have one."""


class UnknownVariable(RouterError):
    """An event type has no variable of this name."""


class InvalidTopic(RouterError):
    """A text is not a topic, ingress key or pattern."""


class InvalidEvent(RouterError):
    """Bytes are not an event of clusterbus."""


class Rejection(RouterError):
    """A record cannot become an event; `clusterbus.rejected` keeps it with this reason."""


class StateError(RouterError):
    """The router's state cannot be read or written: another attempt may help."""


class VersionError(RouterError):
    """The tables of a database are of a later release: this one neither reads nor changes them."""

    def __init__(self, problem: str, way_out: str) -> None:
        """Name the database and both versions in *problem*, and what to do in *way_out*."""
        self.problem, self.way_out = problem, way_out
        super().__init__(f"{problem}: {way_out}")


class NotUpgraded(VersionError):
    """The tables of a database are of an earlier release, and were not upgraded."""


class BrokerError(RouterError):
    """A request to the broker failed."""


class Unreachable(BrokerError):
    """No connection: another attempt may help."""


class QueuesDown(BrokerError):
    """Queues exist that the broker cannot reach now: another attempt may help."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        """Keep *reasons*: for each queue, what the broker says."""
        super().__init__("; ".join(f"queue {queue}: {reason}" for queue, reason in reasons.items()))
        self.queues = tuple(reasons)


class Refused(BrokerError):
    """The broker refused the request: another attempt does not help."""


class Denied(Refused):
    """The user has no right to ask; the thing asked for may exist or not."""
