"""Catalogues: the event types and variables of each source, as data.

A catalogue is `sources/<source>/catalogue.json`; `load` reads one, `Catalogues.shipped` all of them.  Lookups ignore
case and accept aliases; results always have the catalogue's own spelling.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Self

from ..errors import UnknownEvent, did_you_mean
from .events import OWN, SEVERITIES, Scope, Severity, Value

SOURCES = Path(__file__).parents[1] / "sources"
FILE = "catalogue.json"

EVENT_NAME = "eventName"
"""The variable for the name of the event.  Sources that have it need not pass it: the record names the event."""

Kind = Literal["word", "integer", "number", "text", "names", "node", "nodes"]

_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,18})\Z")
_NUMBER = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?(?:[eE][+-]?[0-9]{1,3})?\Z")
_BLANK = re.compile(r"\s")
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Variable:
    """A named value that a source gives with an event.

    With *values* it is always one of these.
    """

    name: str
    type: Kind
    meaning: str
    example: str
    separator: str | None = None
    unit: str | None = None
    status: str = ""
    qualifiers: bool = False
    values: tuple[str, ...] = ()

    def value(self, text: str) -> Value:
        """Return *text* as a value of this variable's type, without losing a character.

        Raises ValueError if it does not fit: a blank in a word, an empty name in a list, a number that is not written
        in the usual way, not finite, or outside the signed 64 bits.

        >>> Variable("blockUsage", "integer", "", "").value("1048576")
        1048576
        >>> Variable("upNodes", "nodes", "", "", ",").value("n1,n2")
        ['n1', 'n2']
        """
        return _READ[self.type](text, self.separator or ",")


def _text(text: str, _: str) -> str:
    return text


def _integer(text: str, _: str) -> int:
    number = int(text) if _INTEGER.match(text) else None
    if number is None or not -_LARGEST - 1 <= number <= _LARGEST:
        raise ValueError(f"{text[:40]!r} is not an integer of 64 bits")
    return number


def _number(text: str, _: str) -> float:
    number = float(text) if _NUMBER.match(text) else None
    if number is None or not isfinite(number):
        raise ValueError(f"{text[:40]!r} is not a number")
    return number


def _names(text: str, separator: str) -> list[str]:
    names = [each.strip() for each in text.split(separator)]
    for each in names:
        _word(each, separator)
    return names


def _word(text: str, _: str) -> str:
    if not text or _BLANK.search(text):
        raise ValueError(f"{text[:40]!r} is not a word")
    return text


_READ: Mapping[Kind, Callable[[str, str], Value]] = {
    "text": _text,
    "word": _word,
    "node": _word,
    "integer": _integer,
    "number": _number,
    "names": _names,
    "nodes": _names,
}


@dataclass(frozen=True, slots=True)
class EventType:
    """A kind of event.

    *variables* are those of this type, without the common ones of its source; *optional* those of them that may not
    apply to a single event.
    """

    source: str
    name: str
    category: str
    scope: Scope
    severity: Severity
    variables: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    meaning: str = ""
    runs_on: str = ""
    since: str = ""
    rate: str = ""
    default: bool = False
    aliases: tuple[str, ...] = ()
    status: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""

    @property
    def type(self) -> str:
        """The CloudEvents type, such as `gpfs.softQuotaExceeded`."""
        return f"{self.source}.{self.name}"

    @property
    def severities(self) -> tuple[Severity, ...]:
        """All severities that such events may have: a change of an alert has that of the alert."""
        return SEVERITIES if self.source == OWN and self.category == ALERT else (self.severity,)


ALERT, UNKNOWN = "alert", "unknown"
"""The categories of the changes of alerts, and of events that are in no catalogue."""


def unknown(source: str, name: str) -> EventType:
    """Return a type for an event that is in no catalogue: the router routes it like any other."""
    return EventType(source, name, UNKNOWN, "local", "warning")


@dataclass(frozen=True)
class Catalogue:
    """The event types and variables of one source.

    *common* variables may come with any event; those in *optional* may not apply to a single event.  *reporting*
    variables describe the reporting node, so they differ between the copies of one occurrence.  *schemas* is the URL
    below which this site serves the schemas of events, empty if it does not.
    """

    source: str
    version: int = 1
    schemas: str = ""
    categories: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    common: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    reporting: tuple[str, ...] = ()
    events: Mapping[str, EventType] = field(default_factory=dict)

    @cached_property
    def _events(self) -> dict[str, EventType]:
        return {spelling.lower(): each for each in self.events.values() for spelling in (each.name, *each.aliases)}

    @cached_property
    def _variables(self) -> dict[str, Variable]:
        return {name.lower(): each for name, each in self.variables.items()}

    @cached_property
    def flags(self) -> Mapping[str, Variable]:
        """The variables by their flag on the command line of capture, such as `--fsName`, in their own spelling."""
        return {f"--{name}": each for name, each in self.variables.items()}

    def get(self, name: str) -> EventType | None:
        """Return the event type with this name or alias, or None."""
        return self.events.get(name) or self._events.get(name.lower())

    def event(self, name: str) -> EventType:
        """Return the event type with this name or alias; raises UnknownEvent with similar names."""
        found = self.get(name)
        if found is None:
            raise UnknownEvent(f"{self.source} has no event {name!r}{self.did_you_mean(name)}")
        return found

    def variable(self, name: str) -> Variable | None:
        """Return the variable with this name, or None."""
        return self.variables.get(name) or self._variables.get(name.lower())

    def did_you_mean(self, name: str) -> str:
        """Return the end of a message about the unknown event type *name*: similar ones, or an empty text."""
        return _did_you_mean(name, self.events.values())

    def of(self, event_type: EventType) -> tuple[Variable, ...]:
        """Return all variables that events of this type may have: its own, then the common ones."""
        names = dict.fromkeys((*event_type.variables, *self.common))
        return tuple(self.variables[name] for name in names)

    def schema_of(self, event_type: EventType) -> str:
        """Return the address of the schema of the data of this type: a URL where this site serves it, else a URN."""
        if self.schemas:
            return f"{self.schemas}/{event_type.type}/{self.version}.json"
        return f"urn:clusterbus:{event_type.source}:{event_type.name}:{self.version}"

    def optional_of(self, event_type: EventType) -> tuple[str, ...]:
        """Return the variables of this type that may not apply to a single event: its own, then the common ones."""
        common = (name for name in self.optional if name not in event_type.variables)
        return (*event_type.optional, *common)


def load(source: str) -> Catalogue:
    """Return the shipped catalogue of *source*; raises FileNotFoundError if there is none."""
    return read(SOURCES / source / FILE)


def is_shipped(source: str) -> bool:
    """Say whether the program has a catalogue of *source*, so that no site can have a source of this name."""
    return (SOURCES / source / FILE).is_file()


def read(path: Path) -> Catalogue:
    """Return the catalogue in the file *path*; the file is part of the program and is not validated."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    source = fields["source"]
    return Catalogue(
        source=source,
        version=fields["version"],
        categories=fields["categories"],
        variables={name: Variable(name=name, **_fields(each)) for name, each in fields["variables"].items()},
        common=tuple(fields["common"]),
        optional=tuple(fields["optional"]),
        reporting=tuple(fields["reporting"]),
        events={name: EventType(source=source, name=name, **_fields(each)) for name, each in fields["events"].items()},
    )


def _fields(fields: Mapping[str, object]) -> Mapping[str, Any]:
    return {key: tuple(each) if isinstance(each, list) else each for key, each in fields.items()}


def _did_you_mean(name: str, events: Iterable[EventType]) -> str:
    spellings = {spelling: each.name for each in events for spelling in (each.name, *each.aliases)}
    return did_you_mean(name, (), spellings, most=3)


class Catalogues(Mapping[str, Catalogue]):
    """The catalogues of several sources, by source."""

    def __init__(self, catalogues: Iterable[Catalogue]) -> None:
        """Hold *catalogues*, in their order."""
        self._by_source = {each.source: each for each in catalogues}

    @classmethod
    def shipped(cls) -> Self:
        """Return all catalogues of the program."""
        return cls(read(path) for path in sorted(SOURCES.glob(f"*/{FILE}")))

    def __getitem__(self, source: str) -> Catalogue:
        """Return the catalogue of *source*; raises KeyError if there is none."""
        return self._by_source[source]

    def __iter__(self) -> Iterator[str]:
        """Return the sources."""
        return iter(self._by_source)

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self._by_source)

    def of(self, source: str) -> Catalogue:
        """Return the catalogue of *source*, or an empty one for an unknown source."""
        return self._by_source.get(source) or Catalogue(source)

    def all(self) -> tuple[EventType, ...]:
        """Return all event types of all sources."""
        return tuple(each for catalogue in self.values() for each in catalogue.events.values())

    def find(self, name: str) -> tuple[EventType, ...]:
        """Return the event types with this name or alias, from each source that has one."""
        found = (catalogue.get(name) for catalogue in self.values())
        return tuple(each for each in found if each is not None)

    def did_you_mean(self, name: str) -> str:
        """Return the same as that of a catalogue, for the event types of all sources."""
        return _did_you_mean(name, self.all())

    @property
    def categories(self) -> Mapping[str, str]:
        """The categories of all sources with their meanings, including `unknown`."""
        known = {name: meaning for each in self.values() for name, meaning in each.categories.items()}
        return known | {UNKNOWN: "Events that are in no catalogue"}
