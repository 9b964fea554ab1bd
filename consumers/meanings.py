"""Whether filters and templates mean something for the event types that a subscription selects.

Judged by the catalogue and by samples: an event of each type as it may be, from the examples of its variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from router.catalogue import Catalogues, EventType
from router.events import Event

from .errors import FilterError, TemplateError, did_you_mean
from .files import Place
from .filters import Filter
from .subscriptions import VERBS
from .templates import Template

EXTRA = "arguments"
"""Arguments that belong to no variable; any event may have them."""

_SHOWN = 3
"""Event types that a message names."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said of a place in an entry; a *warning* is what may not have been meant."""

    place: Place
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Kinds:
    """The event types that a subscription selects, with a sample of each, by `type`."""

    catalogues: Catalogues
    samples: Mapping[str, Event]

    def lacking(self, variable: str) -> list[str]:
        """Return the selected event types that cannot have *variable*."""
        return [each for each, sample in self.samples.items() if variable not in sample.data and variable != EXTRA]

    def unknown(self, variable: str) -> str:
        """Return what is wrong with *variable* where no selected event type has it, else nothing."""
        if not self.samples or len(self.lacking(variable)) < len(self.samples):
            return ""
        theirs = {name for sample in self.samples.values() for name in sample.data}
        everywhere = {name for each in self.catalogues.values() for name in each.variables}
        if variable in everywhere:
            return f"{_named(self.samples)} cannot have data.{variable}"
        return f"no variable data.{variable}{did_you_mean(variable, theirs) or did_you_mean(variable, everywhere)}"


def check(
    raw: Mapping[str, object], kind: str | None, types: Sequence[EventType], catalogues: Catalogues
) -> Iterator[Remark]:
    """Yield what is to be said of the filter of the entry *raw* and of the templates of its verb *kind*."""
    kinds = Kinds(catalogues, {each.type: sample(each, catalogues) for each in types})
    where = raw.get("where")
    if isinstance(where, str):
        yield from _filter(where, kinds)
    below = raw.get(kind) if kind else None
    if kind and isinstance(below, dict):
        for name in VERBS[kind].templates:
            for place, text in _texts(below.get(name), (kind, name)):
                yield from _template(place, text, kinds)


def sample(event_type: EventType, catalogues: Catalogues) -> Event:
    """Return an event of *event_type* as it may be, in the cluster `sample`."""
    data = catalogues.sample(event_type)
    about = "/".join(str(data[name]) for name in event_type.subject if name in data)
    return Event(
        id="00000000000000000000000000",
        type=event_type.type,
        source=f"/{event_type.source}/sample/node1",
        subject=about or None,
        time="2026-01-01T00:00:00.000000000Z",
        cluster="sample",
        node="node1",
        category=event_type.category,
        severity=event_type.severity,
        scope=event_type.scope,
        sequence="000000000001",
        epoch="00000000000000000000000000",
        data=data,
    )


def _filter(text: str, kinds: Kinds) -> Iterator[Remark]:
    place: Place = ("where",)
    try:
        compiled = Filter(text)
    except FilterError as error:
        yield Remark(place, str(error))
        return
    if unknown := [wrong for name in compiled.variables if (wrong := kinds.unknown(name))]:
        yield from (Remark(place, each) for each in unknown)
        return
    reasons = {each: compiled.matches(sample).reason for each, sample in kinds.samples.items()}
    for name in compiled.variables:
        # An expression that asks for the type or category may never come to read it: there the sample decides.
        lacking = [each for each in kinds.lacking(name) if reasons[each] or not compiled.asks_for_type]
        if lacking and name not in compiled.guarded:
            message = f"{_named(lacking)} cannot have data.{name}, so such an event does not match"
            yield Remark(place, f"{message}; has(data.{name}) && ... says that it is meant", warning=True)
    yield from _failing(place, compiled, kinds, reasons)


def _failing(place: Place, compiled: Filter, kinds: Kinds, reasons: Mapping[str, str]) -> Iterator[Remark]:
    """Yield that the filter fails for events that have all that it reads: then it is the expression that is wrong."""
    complete = [each for each in kinds.samples if not any(each in kinds.lacking(name) for name in compiled.variables)]
    failing = [each for each in complete if reasons[each]]
    if failing:
        message = f"cannot be evaluated for {_named(failing)}: {reasons[failing[0]]}"
        yield Remark(place, message, warning=len(failing) < len(complete))


def _template(place: Place, text: str, kinds: Kinds) -> Iterator[Remark]:
    try:
        template = Template(text)
    except TemplateError as error:
        yield Remark(place, str(error))
        return
    if unknown := [wrong for name in template.variables if (wrong := kinds.unknown(name))]:
        yield from (Remark(place, each) for each in unknown)
        return
    reasons = {each: reason for each, event in kinds.samples.items() if (reason := _unfilled(template, event))}
    if reasons:
        first = next(iter(reasons.values()))
        yield Remark(place, f"for {_named(reasons)}: {first}")


def _unfilled(template: Template, event: Event) -> str:
    try:
        template.render(event)
    except TemplateError as error:
        return str(error)
    return ""


def _texts(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield the texts in *value*, however deep, each with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from _texts(each, (*place, at))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _texts(each, (*place, name))


def _named(types: Iterable[str]) -> str:
    names = [each.partition(".")[2] for each in types]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
