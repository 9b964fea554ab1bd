"""The file `router.catalogue`: events and variables of newer releases, and changes of known events.

```yaml
version: 1
gpfs:
  variables:
    tierName: {type: word, meaning: The tier, example: cold}
  events:
    tierMoved: {category: space, severity: info, variables: [fsName, tierName], meaning: Files moved to another tier.}
  changes:
    lowDiskSpace: {severity: error, variables: [tierName]}
```
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .. import redaction
from ..errors import SettingsError, did_you_mean
from ..model.catalogue import Catalogue, Catalogues, EventType, Kind, Variable
from ..model.events import Scope, Severity
from . import type_mistakes, yaml_documents
from .field_types import matching
from .yaml_documents import Document, Place

_STATUS = "declared by this site"
_EXAMPLES: Mapping[Kind, str] = {"integer": "1", "number": "1.5", "names": "a,b", "nodes": "node1,node2"}
_KNOWN = "this release knows it and ignores this: remove it, or write what differs below `changes`"
_VARIABLE = "(?!arguments$)[A-Za-z_][A-Za-z0-9_]{0,99}"
"""`arguments` is where the router puts what belongs to no variable."""
Name = Annotated[str, matching("[A-Za-z][A-Za-z0-9_-]{0,99}", "is not a name: write letters, digits, _ and -")]
VariableName = Annotated[str, matching(_VARIABLE, "cannot name a variable: write letters, digits and _")]
CategoryName = Annotated[str, matching("[a-z][a-z0-9-]{0,39}", "is not a category: write small letters, digits and -")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AddedVariable(_Part):
    """A variable that the program does not know."""

    type: Kind
    """How its text becomes a value: word, text, integer, number, node, or a list: names, nodes."""

    meaning: str = ""
    """What it says, for people."""

    example: str = ""
    """A text as the source gives it; samples and `clusterbus route` use it."""

    unit: str | None = None
    """The unit of a number, such as KiB."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What separates the items of a list; a comma by default."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.separator is not None and self.type not in ("names", "nodes"):
            raise ValueError(f"separator needs type: names or nodes, not {self.type}")
        self.variable("example")
        return self

    def variable(self, name: str) -> Variable:
        """Return it as a variable of the catalogue; raises ValueError if its example does not fit its type."""
        example = self.example or _EXAMPLES.get(self.type, "example").replace(",", self.separator or ",")
        found = Variable(name, self.type, self.meaning, example, self.separator, self.unit, _STATUS)
        found.value(example)
        return found


class AddedEvent(_Part):
    """An event that the program does not know."""

    category: CategoryName
    """Its family: one of the source's categories, or one of `categories` here."""

    meaning: str
    """What has happened, for people."""

    scope: Scope = "local"
    """`global` if all nodes report it: copies are then removed."""

    severity: Severity = "warning"
    """How bad it is, unless a subscription says otherwise."""

    variables: tuple[VariableName, ...] = ()
    """The variables that the source gives with it."""

    optional: tuple[VariableName, ...] = ()
    """Those of them that it does not always have."""

    subject: tuple[VariableName, ...] = ()
    """The variables that say what it is about, such as fsName; together they are its subject."""

    default: bool = True
    """Whether `events: default` registers it."""

    aliases: tuple[Name, ...] = ()
    """Other spellings of its name."""


class ChangedEvent(_Part):
    """What differs at this site for an event that the program knows; the rest stays."""

    severity: Severity | None = None
    """Its severity here."""

    meaning: str | None = None
    """Its meaning here."""

    default: bool | None = None
    """Whether `events: default` registers it here."""

    variables: tuple[VariableName, ...] = ()
    """Variables that it has in addition."""


class Additions(_Part):
    """What is added to the catalogue of one source."""

    categories: Mapping[CategoryName, str] = {}
    """New categories, each with its meaning."""

    variables: Mapping[VariableName, AddedVariable] = {}
    """New variables, by name."""

    events: Mapping[Name, AddedEvent] = {}
    """New events, by name."""

    changes: Mapping[Name, ChangedEvent] = {}
    """Changes of known events, by name."""


class CatalogueFile(_Part):
    """Events and variables of newer releases, and changes of known events, for each source."""

    version: Literal[1]
    """The version of the format."""

    gpfs: Additions = Additions()
    qube: Additions = Additions()


def added(path: Path, shipped: Catalogues) -> tuple[Catalogues, tuple[str, ...]]:
    """Return *shipped* with what the file *path* adds, and the places of what *shipped* has and so ignores there.

    Raises SettingsError with a line for each mistake.
    """
    document = yaml_documents.read(path)
    if document.flaws:
        raise SettingsError("\n".join(document.flaw_lines("catalogue")))
    try:
        file = CatalogueFile.model_validate(document.value)
    except ValidationError as error:
        lines = [_said(document, each) for each in error.errors(include_url=False)]
        # Without its cause, whose text has no lines of the file.
        raise SettingsError("\n".join(lines)) from None
    mistakes: list[str] = []
    known: list[str] = []
    merged = []
    for source, catalogue in shipped.items():
        additions = getattr(file, source, Additions())
        for place, message in _mistakes(catalogue, additions):
            mistakes.append(_line(document, (source, *place), message))
        known += [_line(document, (source, *each), _KNOWN) for each in _known(catalogue, additions)]
        merged.append(catalogue if mistakes else _merged(catalogue, additions))
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return Catalogues(merged), tuple(known)


def _known(catalogue: Catalogue, additions: Additions) -> Iterator[Place]:
    """Yield the places of additions that *catalogue* has by itself."""
    yield from (("categories", each) for each in additions.categories if each in catalogue.categories)
    yield from (("variables", each) for each in additions.variables if catalogue.variable(each))
    yield from (("events", each) for each in additions.events if catalogue.get(each))


def _mistakes(catalogue: Catalogue, additions: Additions) -> Iterator[tuple[Place, str]]:
    """Yield what in *additions* does not fit the rest, each with its place."""
    variables = [*catalogue.variables, *additions.variables]
    categories = [*catalogue.categories, *additions.categories]
    yield from _spelt_twice(additions)
    for name, event in additions.events.items():
        if event.category not in categories:
            hint = did_you_mean(event.category, categories, most=1)
            yield ("events", name, "category"), f"no category {event.category!r}{hint}"
        if catalogue.source == "qube" and not event.aliases:
            yield ("events", name), "needs the words of its trigger, such as failed-job, in aliases"
        own = [*event.variables, *catalogue.common]
        yield from _unknown(("events", name, "variables"), event.variables, variables)
        yield from _unknown(("events", name, "optional"), event.optional, own)
        yield from _unknown(("events", name, "subject"), event.subject, own)
    for name, change in additions.changes.items():
        if catalogue.get(name) is None:
            near = did_you_mean(name, catalogue.events, most=1)
            yield ("changes", name), f"this release has no event {name!r}{near}; new ones stand below `events`"
        yield from _unknown(("changes", name, "variables"), change.variables, variables)


def _spelt_twice(additions: Additions) -> Iterator[tuple[Place, str]]:
    spelt: dict[str, str] = {}
    for name, event in additions.events.items():
        for spelling in (name, *event.aliases):
            if (other := spelt.setdefault(spelling.lower(), name)) != name:
                yield ("events", name), f"{spelling!r} is also a name of {other}"


def _unknown(place: Place, names: Iterable[str], known: Collection[str]) -> Iterator[tuple[Place, str]]:
    for at, each in enumerate(names):
        if each not in known:
            yield (*place, at), f"no variable {each!r} here{did_you_mean(each, known, most=1)}"


def _merged(catalogue: Catalogue, additions: Additions) -> Catalogue:
    """Return *catalogue* with *additions*; what it has by itself stays."""
    status = dict.fromkeys(("name", "scope", "variables"), _STATUS)
    events = dict(catalogue.events)
    for name, event in additions.events.items():
        if catalogue.get(name) is None:
            events[name] = EventType(catalogue.source, name, **event.model_dump(), runs_on="", status=status)
    for name, change in additions.changes.items():
        known = catalogue.event(name)
        given = {key: each for key, each in change.model_dump().items() if each is not None}
        given["variables"] = tuple(dict.fromkeys((*known.variables, *change.variables)))
        events[known.name] = replace(known, **given)
    added = {name: each.variable(name) for name, each in additions.variables.items() if not catalogue.variable(name)}
    return replace(
        catalogue,
        events=events,
        variables={**catalogue.variables, **added},
        categories={**additions.categories, **catalogue.categories},
    )


def _said(document: Document, error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    place = tuple(each for each in error["loc"] if each != "[key]")
    is_unknown = error["type"] == "extra_forbidden"
    return _line(document, place, "unknown key" if is_unknown else type_mistakes.text(error))


def _line(document: Document, place: Place, message: str) -> str:
    name = yaml_documents.dotted(place)
    return redaction.redact(f"{document.file}:{document.line(place)}: {name}{': ' if name else ''}{message}")
