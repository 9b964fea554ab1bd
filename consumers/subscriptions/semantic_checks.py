"""Checks of filters and templates against the event types that a subscription selects.

They use the catalogue, what this site's registrations pass, and samples of each type: with all variables, and without
the optional ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from router.settings.yaml_documents import Place

from ..config.event_samples import Kinds, Remark, named
from ..errors import FilterError, TemplateError
from ..expressions.cel_syntax.tree import Constant, Index, Name, Select, walk
from ..expressions.fact_paths import FACTS, Path, written
from ..expressions.filters import Filter
from ..expressions.templates import Template
from ..policies.group_keys import variables
from ..verbs.interface import installed
from .expression_checks import Passing, Stages, callback_variables, known, template_remarks, type_remarks
from .trials import Filling, Trial, partly, tried

NOT_WITH_LOG = ("order_by", "fold", "once_per", "limit", "guard")
"""The keys of an entry that have no meaning with `log`."""


def check(raw: Mapping[str, object], kind: str | None, events: Stages) -> Iterator[Remark]:
    """Yield remarks on the filters and fields of the entry *raw*, for *events*, and on the templates of its *kind*."""
    if isinstance(where := raw.get("where"), str):
        yield from _filter(("where",), where, events.selected)
    if kind == "log":
        yield from _log_remarks(raw)
    guard = raw.get("guard")
    if isinstance(guard, dict) and isinstance(only_when := guard.get("only_when"), str):
        yield from _filter(("guard", "only_when"), only_when, events.arriving, receives=events.receives)
        alone = events.arriving.lets_nothing_pass or events.selected.asking(only_when).lets_nothing_pass
        if not alone and events.handled.lets_nothing_pass:
            message = "is never true for an event that matches `where`, so this subscription never acts: change either"
            yield Remark(("guard", "only_when"), message)
    yield from _places(raw, events.handled.reached)
    for place, text, misread in templates(raw, kind):
        yield from _template(place, text, events.handled, misread, receives=events.receives)


def templates(raw: Mapping[str, object], kind: str | None) -> Iterator[tuple[Place, str, Callable[[str], str]]]:
    """Yield each template in the entry *raw*: its place, its text, and what returns why its result cannot be used."""
    guard = raw.get("guard")
    for place, text in _texts(guard.get("only_if") if isinstance(guard, dict) else None, ("guard", "only_if")):
        yield place, text, lambda _: ""
    below = raw.get(kind) if kind else None
    if kind and isinstance(below, dict):
        verb = installed()[kind]
        for name in verb.templates:
            for place, text in _texts(below.get(name), (kind, name)):
                yield place, text, partial(verb.misread, name)


def _log_remarks(raw: Mapping[str, object]) -> Iterator[Remark]:
    """Yield a remark for each key that has no meaning with `log`, which calls no handler."""
    for name in NOT_WITH_LOG:
        if raw.get(name) not in (None, []):
            yield Remark((name,), "cannot be used with log, which writes every event in order: remove it")
    if raw.get("mode") == "shadow":
        yield Remark(("mode",), "log cannot run in shadow mode, because writing is its only effect: use live or off")


def _places(raw: Mapping[str, object], kinds: Kinds) -> Iterator[Remark]:
    """Yield a remark for each field of a grouping or order that no event has, or that some events lack."""
    guard = raw.get("guard")
    fields: list[tuple[Place, object]] = [
        ((name,), raw.get(name)) for name in ("order_by", "fold", "once_per", "limit")
    ]
    fields.append((("guard", "at_most"), guard.get("at_most") if isinstance(guard, dict) else None))
    for where, below in fields:
        by, place = (below.get("by"), (*where, "by")) if isinstance(below, dict) else (below, where)
        places = by if isinstance(by, list) else [by]
        for variable in variables(tuple(each for each in places if isinstance(each, str))):
            lacking, unpassed = kinds.lacking(variable), kinds.unpassed(variable)
            if unknown := kinds.unknown(variable):
                yield Remark(place, unknown)
            elif unpassed:
                whole = len(lacking) + len(unpassed) == len(kinds.kinds)
                message = _not_passed(variable, unpassed, kinds, "all such events form one group")
                yield Remark(place, message, warning=not whole, fault=whole)
            elif lacking:
                message = f"{named(lacking)} cannot have data.{variable}: all such events form one group"
                yield Remark(place, message, warning=True)


def _filter(place: Place, text: str, passes: Passing, *, receives: bool = False) -> Iterator[Remark]:
    kinds = passes.reached
    try:
        compiled = Filter(text)
    except FilterError as error:
        yield Remark(place, str(error))
        return
    if unknown := [wrong for name in compiled.variables if (wrong := kinds.unknown(name))]:
        yield from (Remark(place, each) for each in unknown)
        return
    remarks = () if receives else tuple(type_remarks(place, compiled, passes.events))
    yield from remarks
    if not all(each.warning for each in remarks):
        return
    trials = tried(compiled, lambda event: compiled.matches(event, known(event, compiled.facts)).reason, passes)
    for name in compiled.variables:
        # An expression that checks the type or category may never read the variable: there the sample decides.
        lacking = [each for each in kinds.lacking(name) if trials[each].reason or not compiled.asks_for_type]
        if lacking and name not in compiled.guarded:
            message = f"{named(lacking)} cannot have data.{name}, so these events do not match"
            yield Remark(place, f"{message}; if that is intended, write has(data.{name}) && ...", warning=True)
        if unpassed := [each for each in kinds.unpassed(name) if trials[each].reason or name in compiled.guarded]:
            all_fail = all(trials[each].reason for each in kinds.kinds)
            effect = f"has(data.{name}) is false" if name in compiled.guarded else "these events do not match"
            yield Remark(place, _not_passed(name, unpassed, kinds, effect), warning=not all_fail, fault=all_fail)
    yield from _failing(place, compiled, kinds, trials)
    for types, name, reason in partly(trials):
        if name:
            what = f"{named(types)}: data.{name} may not apply, and then these events do not match: {reason}"
            yield Remark(place, f"{what}; if that is intended, write data.{name} != null && ...", warning=True)
        else:
            what = f"{named(types)}: some of these events do not match: {reason}"
            sizes = " && ".join(f"size(data.{each}) > {at}" for each, at in _items(compiled).items())
            guard = f"; if that is intended, write {sizes} && ..." if sizes else ""
            yield Remark(place, f"{what}{guard}", warning=True)


def _items(compiled: Filter) -> Mapping[str, int]:
    """Return the highest number of an item that the filter *compiled* reads of each list of `data`, if it is not 0."""
    found: dict[str, int] = {}
    for node, _ in walk(compiled.tree):
        match node:
            case Index(Select(Name("data"), name), Constant("int", int(at))) if at > 0:
                found[name] = max(at, found.get(name, 0))
    return found


def _failing(place: Place, compiled: Filter, kinds: Kinds, trials: Mapping[str, Trial]) -> Iterator[Remark]:
    """Yield a remark if the filter fails for events that have all its variables: then the expression is wrong."""
    incomplete = {each for name in compiled.variables for each in (*kinds.lacking(name), *kinds.unpassed(name))}
    complete = [each for each in kinds.kinds if each not in incomplete]
    if failing := [each for each in complete if trials[each].reason]:
        message = f"cannot be evaluated for {named(failing)}: {trials[failing[0]].reason}"
        yield Remark(place, message, warning=len(failing) < len(complete))


def _template(
    place: Place, text: str, passes: Passing, misread: Callable[[str], str], *, receives: bool
) -> Iterator[Remark]:
    """Yield remarks on the template *text*; *misread* returns what is wrong with what it becomes."""
    kinds = passes.reached
    try:
        template = Template(text)
    except TemplateError as error:
        yield Remark(place, str(error))
        return
    if unknown := [wrong for name in template.variables if (wrong := kinds.unknown(name))]:
        yield from (Remark(place, each) for each in unknown)
        return
    yield from (Remark(place, each, warning=True) for each in callback_variables(text, kinds))
    if template.is_plain:
        return
    if not receives:
        yield from template_remarks(place, text, passes.reached_events)
    filling = Filling(template, misread)
    trials = filling.trials(passes)
    yield from _unpassed(place, template, kinds, trials)
    unexplained = {
        each: trial.reason
        for each, trial in trials.items()
        if trial.reason and not any(each in kinds.unpassed(name) for name in template.variables)
    }
    if unexplained:
        is_warning = filling.empty.issuperset(unexplained.values())
        message = f"for {named(unexplained)}: {next(iter(unexplained.values()))}"
        yield Remark(place, message, warning=is_warning)
    for types, name, reason in partly(trials):
        about = f"for {named(types)}: data.{name} may not apply, and then" if name else None
        message = f"{about or f'for some events of {named(types)}:'} {reason}"
        yield Remark(place, message, warning=bool(name) or reason not in filling.wrong)
    if template.facts:
        sound = kinds.those(lambda each: not trials[each.event_type.type].reason)
        yield from _with_unknown_facts(place, filling, sound, passes)


def _unpassed(place: Place, template: Template, kinds: Kinds, trials: Mapping[str, Trial]) -> Iterator[Remark]:
    """Yield a remark for each variable of *template* that a registration does not pass: a fault where it then fails."""
    for name in template.variables:
        unpassed = kinds.unpassed(name)
        for fails, effect in ((True, "the template cannot be filled in"), (False, "counts as missing in the template")):
            if those := [each for each in unpassed if bool(trials[each].reason) is fails]:
                yield Remark(place, _not_passed(name, those, kinds, effect), warning=not fails, fault=fails)


def _with_unknown_facts(place: Place, filling: Filling, kinds: Kinds, passes: Passing) -> Iterator[Remark]:
    """Yield a warning for each fact without which the template cannot be filled in, and that no filter asks for."""
    found: dict[Path | None, dict[str, str]] = {}
    for name, kind in kinds.kinds.items():
        event = kind.sample
        if passes.may_pass(event, event):
            for path, facts in passes.without_facts(event, filling.template.facts):
                # Without any facts, only if each alone may be unknown.
                if (path or not any(name in each for each in found.values())) and (
                    reason := filling.failure(event, facts)
                ):
                    found.setdefault(path, {})[name] = reason
    for path, reasons in found.items():
        what = written(path) if path else FACTS
        message = f"for {named(reasons)}: {what} may be unknown, and then {next(iter(reasons.values()))}"
        yield Remark(place, f"{message}, or ask for it in guard.only_when", warning=True)


def _not_passed(variable: str, types: Sequence[str], kinds: Kinds, effect: str) -> str:
    """Return that the registrations of *types* do not pass *variable*, the *effect*, and the setting that would."""
    registrations = "the registration" if len(types) == 1 else "the registrations"
    do = "does" if len(types) == 1 else "do"
    passing = f"{registrations} of {named(types)} {do} not pass %{variable}, so data.{variable} is absent and {effect}"
    return f"{passing}: {kinds.remedy(types, variable)}"


def _texts(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield all texts in *value*, at any depth, each with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from _texts(each, (*place, at))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _texts(each, (*place, name))
