"""Whether filters and templates mean something for the event types that a subscription selects.

Judged by the catalogue and by samples: an event of each type as it may be, from the examples of its variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from router.events import Event
from router.facts import Known

from . import knowledge
from .deliveries import Delivery
from .errors import FilterError, TemplateError
from .fields import listed
from .files import Place
from .filters import Filter
from .groupings import variables
from .kinds import Kinds, Remark, named
from .paths import Path
from .templates import Template
from .verbs import installed


def check(raw: Mapping[str, object], kind: str | None, kinds: Kinds) -> Iterator[Remark]:
    """Yield what is to be said of the filter of the entry *raw* and of the templates of its verb *kind*."""
    where = raw.get("where")
    if isinstance(where, str):
        yield from _filter(("where",), where, kinds)
    if kind == "log":
        yield from _of_no_call(raw)
    yield from _places(raw, kinds)
    guard = raw.get("guard")
    if isinstance(guard, dict):
        if isinstance(guard.get("only_when"), str):
            yield from _filter(("guard", "only_when"), guard["only_when"], kinds)
        for place, text in _texts(guard.get("only_if"), ("guard", "only_if")):
            yield from _template(place, text, kinds)
    below = raw.get(kind) if kind else None
    if kind and isinstance(below, dict):
        for name in installed()[kind].templates:
            for place, text in _texts(below.get(name), (kind, name)):
                yield from _template(place, text, kinds)


def _of_no_call(raw: Mapping[str, object]) -> Iterator[Remark]:
    """Yield what is about calls, in an entry whose verb writes each event down with the outcomes."""
    for name in ("order_by", "fold", "once_per", "limit", "guard"):
        if raw.get(name):
            yield Remark((name,), "is not for log: it writes every event down, in order, until it has")
    if raw.get("mode") == "shadow":
        yield Remark(("mode",), "log has no shadow, since it has no effect but to write: live or off")


def _places(raw: Mapping[str, object], kinds: Kinds) -> Iterator[Remark]:
    """Yield that a place by which events are grouped or ordered is in none of them, or not in all."""
    for name in ("order_by", "fold", "once_per", "limit"):
        below = raw.get(name)
        by, place = (below.get("by"), (name, "by")) if isinstance(below, dict) else (below, (name,))
        for variable in variables(tuple(each for each in listed(by) or () if isinstance(each, str))):
            if unknown := kinds.unknown(variable):
                yield Remark(place, unknown)
            elif lacking := kinds.lacking(variable):
                message = f"{named(lacking)} cannot have data.{variable}: those events belong together"
                yield Remark(place, message, warning=True)


def _filter(place: Place, text: str, kinds: Kinds) -> Iterator[Remark]:
    try:
        compiled = Filter(text)
    except FilterError as error:
        yield Remark(place, str(error))
        return
    if unknown := [wrong for name in compiled.variables if (wrong := kinds.unknown(name))]:
        yield from (Remark(place, each) for each in unknown)
        return
    reasons = {
        each: compiled.matches(sample, known(sample, compiled.facts)).reason for each, sample in kinds.samples.items()
    }
    for name in compiled.variables:
        # An expression that asks for the type or category may never come to read it: there the sample decides.
        lacking = [each for each in kinds.lacking(name) if reasons[each] or not compiled.asks_for_type]
        if lacking and name not in compiled.guarded:
            message = f"{named(lacking)} cannot have data.{name}, so such an event does not match"
            yield Remark(place, f"{message}; has(data.{name}) && ... says that it is meant", warning=True)
    yield from _failing(place, compiled, kinds, reasons)


def _failing(place: Place, compiled: Filter, kinds: Kinds, reasons: Mapping[str, str]) -> Iterator[Remark]:
    """Yield that the filter fails for events that have all that it reads: then it is the expression that is wrong."""
    complete = [each for each in kinds.samples if not any(each in kinds.lacking(name) for name in compiled.variables)]
    failing = [each for each in complete if reasons[each]]
    if failing:
        message = f"cannot be evaluated for {named(failing)}: {reasons[failing[0]]}"
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
        yield Remark(place, f"for {named(reasons)}: {first}")


def _unfilled(template: Template, event: Event) -> str:
    try:
        template.render_text(Delivery(event, "sample", event.topic, b"", known=known(event, template.facts)))
    except TemplateError as error:
        return str(error)
    return ""


def known(event: Event, paths: Sequence[Path]) -> Known | None:
    """Return facts as they may be for *event*, where anything is read of them by *paths*."""
    names = (step for path in paths for step in path.steps if isinstance(step, str))
    return knowledge.sample(event, names) if paths else None


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
