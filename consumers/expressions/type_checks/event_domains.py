"""The domains of what filters read: the attributes and variables of an event type, and the facts of a cluster."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from router.cluster.facts.models import DiskFacts, Facts, FilesetFacts, FileSystemFacts, NodeFacts
from router.cluster.gpfs.node_roles import ROLES
from router.model.catalogue import EVENT_NAME, UNKNOWN, Catalogue, Catalogues, EventType, Variable
from router.model.catalogue import unknown as unknown_type
from router.model.events import OWN, SEVERITIES, Event, Scope

from ...config.event_samples import EXTRA
from ..cel_syntax.tree import Name
from ..fact_paths import FACTS
from ..values import alert_values
from ..values.alert_values import ALERT
from .domains import ANY, LARGEST, NULL, TRUTHS, Domain, Form, Texts

IDENTITY: Final = Texts("[a-z0-9-]", meaning="the word of a node")
"""The word of a node, as capture makes it, which facts have too."""

NODE_NAME: Final = Texts(r"\S", meaning="the name of a node")
"""The name of a node as a source writes it: short or with its domain, in any case."""

_DAY: Final = r"[0-9]{4}-[01][0-9]-[0-3][0-9]"
_CLOCK: Final = r"[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
_MOMENTS: Final = Form(rf"{_DAY}T{_CLOCK}(\.[0-9]+)?Z", "[12][0-9]{3}(-.*)?", "2026-01-31T18:00:00.000000000Z")
MOMENT: Final = Texts("[0-9TZ:.-]", form=_MOMENTS)
"""The moment of an event, as RFC 3339 writes it."""

_WORD: Final = Domain("string", texts=Texts("[A-Za-z0-9_-]"))
_NAME: Final = Domain("string", texts=Texts(r"\S"), null=True, absent=True)
_NODE: Final = _NAME.having(texts=NODE_NAME)
_TYPED: Final[Mapping[str, Domain]] = {
    "word": _NAME,
    "node": _NODE,
    "text": Domain("string", null=True, absent=True),
    "integer": Domain("int", low=(-LARGEST - 1, False), high=(LARGEST, False), null=True, absent=True),
    "number": Domain("double", null=True, absent=True),
}
_EXTRA: Final = Domain("list", item=Domain("string"), shortest=1, absent=True)
_EVENT_TYPE: Final = "eventType"
"""The variable of clusterbus for the type of the event that caused what happened."""


@dataclass(frozen=True)
class Selected:
    """The events that a filter is asked about: their *types*, and the sources whose types may also be unknown.

    *clusters* and *nodes* are those that can be, or None if any can.  With *may_be_all*, `true` is a filter too.
    """

    catalogues: Catalogues
    types: tuple[EventType, ...]
    unknown_sources: tuple[str, ...] = ()
    clusters: frozenset[str] | None = None
    nodes: frozenset[str] | None = None
    may_be_all: bool = False

    @classmethod
    def everything(cls, catalogues: Catalogues) -> Selected:
        """Return all events of all sources, for a filter that has to be written, such as that of a silence."""
        return cls(catalogues, catalogues.all(), tuple(catalogues), may_be_all=True)

    @cached_property
    def names(self) -> Mapping[str, Mapping[str, Domain]]:
        """What each name may be, for each event type; a type that is unknown is that of its source and `.*`."""
        known = {each.type: self._names(each, self.catalogues.of(each.source)) for each in self.types}
        others = {
            f"{source}.*": self._names(unknown_type(source, "*"), self.catalogues.of(source))
            for source in self.unknown_sources
        }
        return known | others

    @cached_property
    def _known_types(self) -> tuple[str, ...]:
        return tuple(each.type for each in self.catalogues.all())

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """The variables of all these types, by name."""
        found = {name: each for source in self.catalogues.values() for name, each in source.variables.items()}
        return found | {each.name: each for kind in self.types for each in self.catalogues.of(kind.source).of(kind)}

    def _names(self, kind: EventType, catalogue: Catalogue) -> Mapping[str, Domain]:
        is_known = kind.category != UNKNOWN
        open_ = Domain("string", texts=Texts("[A-Za-z0-9_-]", f"{kind.source}."), usual=self._known_types)
        type_ = _one(kind.type) if is_known else open_
        data = _data(catalogue.of(kind) if is_known else tuple(catalogue.variables.values()))
        if kind.source == OWN and _EVENT_TYPE in data:
            data[_EVENT_TYPE] = data[_EVENT_TYPE].having(usual=self._known_types)
        if is_known and EVENT_NAME in data:
            # The router adds it where it is missing.
            data[EVENT_NAME] = Domain("string", frozenset((kind.name, *kind.aliases)))
        return {
            **{name: _plain(name) for name in Event.model_fields},
            "type": type_,
            "category": _one(kind.category),
            "severity": Domain("string", frozenset(kind.severities)),
            "scope": _one(kind.scope),
            "source": Domain("string", texts=Texts(r"\S", f"/{kind.source}/")),
            "cluster": _WORD if self.clusters is None else Domain("string", self.clusters),
            "node": Domain("string", self.nodes, texts=IDENTITY),
            # GPFS passes variables of the whole family, and what the catalogue does not know is in one of its own.
            "data": Domain("map", fields=data, longest=len({*catalogue.variables, *data, EVENT_NAME})),
            FACTS: facts(),
            ALERT: _alert(data) if (kind.source, kind.category) == (OWN, ALERT) else NULL,
        }


def present(names: Mapping[str, Domain]) -> Mapping[str, Domain]:
    """Return *names* of an event that has all of its variables."""
    fields = {name: _there(each) for name, each in names["data"].fields.items()}
    return {**names, "data": Domain("map", fields=fields)}


def of_sample(names: Mapping[str, Domain], event: Event) -> Mapping[str, Domain]:
    """Return *names* of an event that lacks the variables that the sample *event* lacks, with any other values."""
    known = names["data"].fields
    fields = {name: NULL if value is None else _there(known.get(name, ANY)) for name, value in event.data.items()}
    return {**names, "data": Domain("map", fields={EXTRA: known[EXTRA]} | fields)}


@cache
def _there(domain: Domain) -> Domain:
    """Return *domain* without what is null or absent.  Few are different, and most variables have the same."""
    return domain.having(null=False, absent=False)


def _data(variables: tuple[Variable, ...]) -> dict[str, Domain]:
    fields = {each.name: _TYPED.get(each.type) or _names(each.type, each.separator or ",") for each in variables}
    fields |= {each.name: fields[each.name].having(values=frozenset(each.values)) for each in variables if each.values}
    return fields | {EXTRA: _EXTRA}


def _alert(data: Mapping[str, Domain]) -> Domain:
    """Return what `alert` is for the changes of alerts, whose variables are *data*."""
    own = {name: data[made[0]] for name, made in alert_values.VARIABLES.items() if made[0] in data}
    own |= {
        "state": Domain("string", frozenset(alert_values.STATES)),
        "cause": Domain("string", frozenset(alert_values.CAUSES)),
        "age": Domain("duration", null=True),
        "flapping": Domain("bool", TRUTHS),
        alert_values.ABOUT: Domain("map", item=Domain("string", absent=True)),
    }
    never_null = ("id", "rule", "change", "since", "openings", "openedBy", "eventType")
    own |= {name: _there(own[name]) for name in never_null if name in own}
    return Domain("map", fields=own)


@cache
def _names(kind: str, separator: str) -> Domain:
    """Return a list whose items are names between which *separator* was."""
    texts = Texts(rf"[^\s{re.escape(separator)}]", meaning=NODE_NAME.meaning if kind == "nodes" else "")
    return Domain("list", item=Domain("string", texts=texts), shortest=1, null=True, absent=True)


def _one(value: str) -> Domain:
    return Domain("string", frozenset((value,)))


@cache
def _plain(name: str) -> Domain:
    field = Event.model_fields[name]
    if get_origin(field.annotation) is Literal:
        return Domain("string", frozenset(get_args(field.annotation)))
    texts = {
        "id": Texts("[0-9A-Z]"),
        "epoch": Texts("[0-9A-Z]"),
        "sequence": Texts("[0-9]", form=Form("[0-9]{12,}", "[0-9]{12,}", "000000000042")),
        "time": MOMENT,
        "dataschema": Texts(r"\S"),
    }
    return Domain("string", texts=texts.get(name), null=not field.is_required())


_USUAL: Final[Mapping[tuple[type[BaseModel], str], tuple[str, ...]]] = {
    (NodeFacts, "state"): ("active", "arbitrating", "down", "unknown", "unresponsive"),
    (NodeFacts, "roles"): ROLES,
    (DiskFacts, "availability"): ("up", "down", "recovering", "unrecovered"),
    (DiskFacts, "status"): (
        "ready",
        "suspended",
        "being emptied",
        "emptied",
        "replacing",
        "replacement",
        "to be emptied",
    ),
    (FilesetFacts, "status"): ("Linked", "Unlinked", "Deleted"),
}
"""The words of the mm commands, as far as they are known."""

_IDENTITIES: Final = frozenset(
    (
        *((Facts, each) for each in ("names", "down", "manager", "node_classes")),
        *((FileSystemFacts, "manager"), (NodeFacts, "name")),
    )
)
"""The facts that are nodes: their words, as in `node`."""

_MOST_DOWN: Final = 100
"""How many nodes and disks the facts list as down at most."""


@cache
def facts() -> Domain:
    """Return the facts of a cluster, each of which may be unknown."""
    age = Domain("double", low=(0.0, False), null=True)
    part = Domain("map", fields={"age": age, "stale": Domain("bool", null=True), "reason": _unknown("string")})
    fields = dict(_model(Facts).fields)
    del fields["limit"]
    own = {"age": age, "stale": Domain("bool"), "taken_at": _unknown("string"), "parts": Domain("map", item=part)}
    return Domain("map", fields=fields | own, null=True)


def _unknown(kind: Any) -> Domain:  # noqa: ANN401 - one of the kinds
    return Domain(kind, null=True)


def _model(model: type[BaseModel]) -> Domain:
    fields = {name: _typed(each.annotation) for name, each in model.model_fields.items()}
    fields |= {name: _of_identities(each) for name, each in fields.items() if (model, name) in _IDENTITIES}
    fields |= {name: each.having(longest=_MOST_DOWN) for name, each in fields.items() if name == "down"}
    for name, domain in fields.items():
        if usual := _USUAL.get((model, name)):
            item = domain.item and domain.item.having(usual=usual)
            fields[name] = domain.having(item=item) if item else domain.having(usual=usual)
    return Domain("map", fields=fields, null=True)


def _of_identities(domain: Domain) -> Domain:
    return domain.having(item=_of_identities(domain.item)) if domain.item else domain.having(texts=IDENTITY)


def _typed(annotation: Any) -> Domain:  # noqa: ANN401 - an annotation
    """Return the domain of what *annotation* describes, as `Facts.at` gives it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return _typed(next(each for each in arguments if each is not type(None))).having(null=True)
    if origin is tuple:
        return Domain("list", item=_typed(arguments[0]), null=True)
    if origin is not None and issubclass(origin, Mapping):
        return Domain("map", item=_typed(arguments[1]), null=True)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model(annotation)
    kinds: Mapping[Any, Any] = {bool: "bool", int: "int", float: "double", str: "string"}
    return Domain(kinds.get(annotation, "any"), null=True)


ENUMERATIONS: Final[Mapping[Name, tuple[str, ...]]] = {
    Name("severity"): SEVERITIES,
    Name("scope"): get_args(Scope),
}
"""The attributes with few possible values, and these."""
