"""The file `router.catalogue`: events and variables of newer releases, changes of known events, and other sources.

```yaml
version: 1
gpfs:
  variables:
    tierName: {type: word, meaning: The tier, example: cold}
  events:
    tierMoved: {category: space, severity: info, variables: [fsName, tierName], meaning: Files moved to another tier.}
  changes:
    lowDiskSpace: {severity: error, variables: [tierName]}
sources:
  slurm:
    categories: {job: Jobs}
    variables: {jobId: {type: integer, example: "42"}}
    events:
      jobFailed: {category: job, severity: error, variables: [jobId], subject: [jobId], meaning: A job failed.}
```
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .. import redaction
from ..errors import SettingsError, did_you_mean
from ..model.catalogue import Catalogue, Catalogues, EventType, Kind, Variable
from ..model.events import Scope, Severity
from ..terminal_text import brief
from . import model_parts, type_mistakes, yaml_documents
from .field_types import matching
from .yaml_documents import Document, Place

_STATUS = "declared by this site"
_EXAMPLES: Mapping[Kind, str] = {"integer": "1", "number": "1.5", "names": "a,b", "nodes": "node1,node2"}
_KNOWN = "this release knows it and ignores this: remove it, or write what differs below `changes`"
_VARIABLE = "(?!arguments$)[A-Za-z_][A-Za-z0-9_]{0,99}"
"""`arguments` is where the router puts what belongs to no variable."""
Name = Annotated[str, matching("[A-Za-z][A-Za-z0-9_-]{0,99}", "is not a name: write letters, digits, _ and -")]
VariableName = Annotated[str, matching(_VARIABLE, "cannot name a variable: write letters, digits and _")]
SourceName = Annotated[str, matching("[a-z][a-z0-9-]{0,39}", "is not a source: write small letters, digits and -")]
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


class SiteSource(_Part):
    """A source of this site, whose events a service publishes."""

    categories: Mapping[CategoryName, str] = {}
    """New categories, each with its meaning."""

    variables: Mapping[VariableName, AddedVariable] = {}
    """New variables, by name."""

    events: Mapping[Name, AddedEvent] = {}
    """New events, by name."""


class Additions(SiteSource):
    """What is added to the catalogue of one source."""

    changes: Mapping[Name, ChangedEvent] = {}
    """Changes of known events, by name."""


class CatalogueFile(_Part):
    """Events and variables of newer releases, changes of known events, and sources of this site."""

    version: Literal[1]
    """The version of the format."""

    gpfs: Additions = Additions()
    qube: Additions = Additions()

    sources: Mapping[SourceName, SiteSource] = {}
    """Sources of this site, by name: services publish their events (`publishes`)."""


def added(path: Path, shipped: Catalogues) -> tuple[Catalogues, tuple[str, ...]]:
    """Return *shipped* with what the file *path* adds, and the places of what *shipped* has and so ignores there.

    Raises SettingsError with a line for each mistake.
    """
    document = yaml_documents.read(path)
    if document.flaws:
        raise SettingsError("\n".join(document.flaw_lines("catalogue")))
    file, wrong = model_parts.validated(CatalogueFile, document.value, {"version": 1})
    mistakes: list[tuple[Place, str]] = [(place, _text(error)) for place, error in wrong.items()]
    for source, catalogue in shipped.items():
        raw = _below(document.value, source)
        mistakes += [((source, *place), message) for place, message in _mistakes(catalogue, raw)]
    sources = _below(document.value, "sources")
    for source in sources:
        if source in shipped:
            mistakes.append(
                (("sources", source), f"this release knows {source}: write what it lacks below `{source}:`")
            )
        own = _mistakes(Catalogue(source), _below(sources, source))
        mistakes += [(("sources", source, *place), message) for place, message in own]
    if file is None or mistakes:
        mistakes.sort(key=lambda each: document.line(each[0]))
        raise SettingsError("\n".join(_line(document, place, message) for place, message in mistakes))
    additions = {source: getattr(file, source, Additions()) for source in shipped}
    known = [
        _line(document, (source, *each), _KNOWN)
        for source, catalogue in shipped.items()
        for each in _known(catalogue, additions[source])
    ]
    merged = [_merged(each, additions[source]) for source, each in shipped.items()]
    schemas = next(iter(shipped.values())).schemas
    merged += [
        _merged(Catalogue(source, schemas=schemas), Additions(**dict(each))) for source, each in file.sources.items()
    ]
    return Catalogues(merged), tuple(known)


def _known(catalogue: Catalogue, additions: Additions) -> Iterator[Place]:
    """Yield the places of additions that *catalogue* has by itself."""
    yield from (("categories", each) for each in additions.categories if each in catalogue.categories)
    yield from (("variables", each) for each in additions.variables if catalogue.variable(each))
    yield from (("events", each) for each in additions.events if catalogue.get(each))


def _mistakes(catalogue: Catalogue, raw: Mapping[str, object]) -> Iterator[tuple[Place, str]]:
    """Yield what in *raw*, the additions as they are written, does not fit the rest, each with its place."""
    variables = [*catalogue.variables, *_below(raw, "variables")]
    categories = [*catalogue.categories, *_below(raw, "categories")]
    events, changes = _below(raw, "events"), _below(raw, "changes")
    yield from _spelt_twice(events)
    for name in events:
        event = _below(events, name)
        if isinstance(category := event.get("category"), str) and category not in categories:
            yield ("events", name, "category"), f"no category {category!r}{did_you_mean(category, categories, most=1)}"
        if catalogue.source == "qube" and not event.get("aliases"):
            yield ("events", name), "needs the words of its trigger, such as failed-job, in aliases"
        own = [*dict(_words(event, "variables")).values(), *catalogue.common]
        for key, known in (("variables", variables), ("optional", own), ("subject", own)):
            yield from _unknown(("events", name, key), _words(event, key), known)
    for name in changes:
        if catalogue.get(name) is None:
            near = did_you_mean(name, catalogue.events, most=1)
            yield ("changes", name), f"this release has no event {name!r}{near}; new ones stand below `events`"
        yield from _unknown(("changes", name, "variables"), _words(_below(changes, name), "variables"), variables)


def _spelt_twice(events: Mapping[str, object]) -> Iterator[tuple[Place, str]]:
    spelt: dict[str, str] = {}
    for name in events:
        for spelling in (name, *dict(_words(_below(events, name), "aliases")).values()):
            if (other := spelt.setdefault(spelling.lower(), name)) != name:
                yield ("events", name), f"{spelling!r} is also a name of {other}"


def _unknown(place: Place, names: Iterable[tuple[int, str]], known: Collection[str]) -> Iterator[tuple[Place, str]]:
    for at, each in names:
        if each not in known:
            yield (*place, at), f"no variable {each!r} here{did_you_mean(each, known, most=1)}"


def _below(raw: object, key: str) -> Mapping[str, object]:
    """Return the mapping at *key* of *raw*, without keys that are no texts; empty if there is none."""
    found = raw.get(key) if isinstance(raw, dict) else None
    return {name: each for name, each in found.items() if isinstance(name, str)} if isinstance(found, dict) else {}


def _words(raw: Mapping[str, object], key: str) -> Iterator[tuple[int, str]]:
    """Yield the texts in the list at *key* of *raw*, each with its position."""
    found = raw.get(key)
    yield from ((at, each) for at, each in enumerate(found if isinstance(found, list) else ()) if isinstance(each, str))


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


def _text(error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    return "unknown key" if error["type"] == "extra_forbidden" else type_mistakes.text(error)


def _line(document: Document, place: Place, message: str) -> str:
    said = ": ".join(filter(None, (yaml_documents.dotted(place), message)))
    return f"{document.file}:{document.line(place)}: {brief(redaction.redact(said))}"
