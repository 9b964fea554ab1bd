"""Catalogues: the event types and variables of each source, as data.

A catalogue is `sources/<source>/catalogue.json`; `load` reads one, `Catalogues.shipped` all.  Names are compared
without regard to case, and aliases count: what is handed out always has the catalogue's own spelling.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Literal, Self

from .errors import UnknownEvent
from .events import Scope, Severity, Value

SOURCES = Path(__file__).parent / "sources"
FILE = "catalogue.json"

Kind = Literal["word", "integer", "number", "text", "names", "node", "nodes"]

_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,18})\Z")
_NUMBER = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?(?:[eE][+-]?[0-9]{1,3})?\Z")
_BLANK = re.compile(r"\s")
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Variable:
    """A named value that a source gives with an event."""

    name: str
    type: Kind
    meaning: str
    example: str
    separator: str | None = None
    unit: str | None = None
    status: str = ""
    qualifiers: bool = False

    def value(self, text: str) -> Value:
        """Return *text* as a value of this variable's type; no character of it is lost.

        Raises ValueError where it does not fit: a blank in a word, an empty name in a list, a number that is written
        in another way than numbers are, that is not finite, or that is outside the signed 64 bits.

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
        raise ValueError(f"{text[:40]!r} is no integer of 64 bits")
    return number


def _number(text: str, _: str) -> float:
    number = float(text) if _NUMBER.match(text) else None
    if number is None or not isfinite(number):
        raise ValueError(f"{text[:40]!r} is no number")
    return number


def _names(text: str, separator: str) -> list[str]:
    names = [each.strip() for each in text.split(separator)]
    for each in names:
        _word(each, separator)
    return names


def _word(text: str, _: str) -> str:
    if not text or _BLANK.search(text):
        raise ValueError(f"{text[:40]!r} is no word")
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
    """A kind of event.  *variables* are its own, without those that any event of its source may have."""

    source: str
    name: str
    category: str
    scope: Scope
    severity: Severity
    variables: tuple[str, ...] = ()
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


UNKNOWN = "unknown"
"""The category of events that no catalogue has."""


def unknown(source: str, name: str) -> EventType:
    """Return what stands for an event that no catalogue has: it is routed all the same."""
    return EventType(source, name, UNKNOWN, "local", "warning")


@dataclass(frozen=True)
class Catalogue:
    """What one source can say.

    *common* variables may come with any event; *reporting* ones speak of the node that reports, so they differ
    between the copies of one occurrence.
    """

    source: str
    version: int = 1
    categories: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    common: tuple[str, ...] = ()
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
        """The variables by the flag that capture is given them with, such as `--fsName`, in their own spelling."""
        return {f"--{name}": each for name, each in self.variables.items()}

    def get(self, name: str) -> EventType | None:
        """Return the event type of this name or alias, None where there is none."""
        return self.events.get(name) or self._events.get(name.lower())

    def event(self, name: str) -> EventType:
        """Return the event type of this name or alias; raises UnknownEvent with what is near."""
        found = self.get(name)
        if found is None:
            raise UnknownEvent(self.source, name, near=self.near(name))
        return found

    def variable(self, name: str) -> Variable | None:
        """Return the variable of this name, None where there is none."""
        return self.variables.get(name) or self._variables.get(name.lower())

    def near(self, name: str) -> tuple[str, ...]:
        """Return the names of event types that are spelled nearly like *name*, the nearest first."""
        return _near(name, self.events.values())

    def of(self, event_type: EventType) -> tuple[Variable, ...]:
        """Return all variables that may come with events of this type: its own, then the common ones."""
        names = dict.fromkeys((*event_type.variables, *self.common))
        return tuple(self.variables[name] for name in names)

    def sample(self, event_type: EventType) -> dict[str, Value]:
        """Return data as an event of this type may have it, from the variables' examples."""
        return {each.name: each.value(each.example) for each in self.of(event_type)}


def load(source: str) -> Catalogue:
    """Return the shipped catalogue of *source*; raises FileNotFoundError where none is shipped."""
    return read(SOURCES / source / FILE)


def read(path: Path) -> Catalogue:
    """Return the catalogue in the file *path*: part of the program, so trusted to be well formed."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    source = fields["source"]
    return Catalogue(
        source=source,
        version=fields["version"],
        categories=fields["categories"],
        variables={name: Variable(name=name, **each) for name, each in fields["variables"].items()},
        common=tuple(fields["common"]),
        reporting=tuple(fields["reporting"]),
        events={name: _event_type(source, name, each) for name, each in fields["events"].items()},
    )


def _event_type(source: str, name: str, fields: Mapping[str, object]) -> EventType:
    values = {key: tuple(each) if isinstance(each, list) else each for key, each in fields.items()}
    return EventType(source=source, name=name, **values)  # type: ignore[arg-type]  # a test reads each shipped file


def _near(name: str, events: Iterable[EventType]) -> tuple[str, ...]:
    spellings = {spelling.lower(): each.name for each in events for spelling in (each.name, *each.aliases)}
    found = difflib.get_close_matches(name.lower(), spellings, n=3, cutoff=0.6)
    return tuple(dict.fromkeys(spellings[each] for each in found))


class Catalogues(Mapping[str, Catalogue]):
    """The catalogues of several sources, by source."""

    def __init__(self, catalogues: Iterable[Catalogue]) -> None:
        """Hold *catalogues*, in their order."""
        self._by_source = {each.source: each for each in catalogues}

    @classmethod
    def shipped(cls) -> Self:
        """Return all catalogues that come with the program."""
        return cls(read(path) for path in sorted(SOURCES.glob(f"*/{FILE}")))

    def __getitem__(self, source: str) -> Catalogue:
        """Return the catalogue of *source*; raises KeyError where there is none."""
        return self._by_source[source]

    def __iter__(self) -> Iterator[str]:
        """Return the sources."""
        return iter(self._by_source)

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self._by_source)

    def of(self, source: str) -> Catalogue:
        """Return the catalogue of *source*, an empty one where it is not known."""
        return self._by_source.get(source) or Catalogue(source)

    def all(self) -> tuple[EventType, ...]:
        """Return all event types of all sources."""
        return tuple(each for catalogue in self.values() for each in catalogue.events.values())

    def find(self, name: str) -> tuple[EventType, ...]:
        """Return the event types of this name or alias, from each source that has one."""
        found = (catalogue.get(name) for catalogue in self.values())
        return tuple(each for each in found if each is not None)

    def near(self, name: str) -> tuple[str, ...]:
        """Return the names of event types of any source that are spelled nearly like *name*, the nearest first."""
        return _near(name, self.all())

    @property
    def categories(self) -> Mapping[str, str]:
        """Each category of any source, and what it is; `unknown` is one of them."""
        known = {name: meaning for each in self.values() for name, meaning in each.categories.items()}
        return known | {UNKNOWN: "Events that no catalogue has"}

    def sample(self, event_type: EventType) -> dict[str, Value]:
        """Return data as an event of this type may have it, from the variables' examples."""
        return self.of(event_type.source).sample(event_type)
