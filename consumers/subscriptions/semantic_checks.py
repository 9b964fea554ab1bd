"""Checks of filters and templates against the event types that a subscription selects.

They use the catalogue, what this site's registrations pass, and samples of each type: with all variables, and without
the optional ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from router.settings.yaml_documents import Place

from ..config.event_samples import Kinds, Remark, named
from ..errors import FilterError, TemplateError
from ..expressions.cel_syntax.tree import Constant, Index, Name, Select, walk
from ..expressions.fact_paths import FACTS, Path, written
from ..expressions.filters import Filter
from ..expressions.templates import Template
from ..policies.group_keys import variables
from ..policies.guards import PER
from ..policies.schedules import delays
from ..verbs import verb_keys
from ..verbs.interface import TemplateText, installed, texts_in
from .expression_checks import Passing, Stages, callback_variables, template_remarks, type_remarks
from .trials import Filling, Trial, failing_as_null, partly, trials_of


def check(raw: Mapping[str, object], kind: str | None, events: Stages) -> Iterator[Remark]:
    """Yield remarks on the filters and fields of the entry *raw*, for *events*, and on the templates of its *kind*."""
    if isinstance(where := raw.get("where"), str):
        yield from filter_remarks(("where",), where, events.selected)
    yield from verb_keys.remarks(raw, kind)
    guard = raw.get("guard")
    if isinstance(guard, dict) and isinstance(only_when := guard.get("only_when"), str):
        yield from filter_remarks(("guard", "only_when"), only_when, events.arriving, receives=events.receives)
        alone = events.arriving.lets_nothing_pass or events.selected.asking(only_when).lets_nothing_pass
        if not alone and events.handled.lets_nothing_pass:
            message = "is never true for an event that matches `where`, so this subscription never acts: change either"
            yield Remark(("guard", "only_when"), message)
    yield from _places(raw, events.handled.reached)
    yield from _facts(raw, events.handled.reached)
    yield from _limits(raw, kind)
    yield from delays.remarks(raw.get("delay"), events.handled.reached)
    for template, misread in templates(raw, kind):
        yield from text_remarks(template, events.handled, misread, receives=events.receives, meta=raw.get("meta"))


def templates(raw: Mapping[str, object], kind: str | None) -> Iterator[tuple[TemplateText, Callable[[str], str]]]:
    """Yield each template in the entry *raw*, and what returns why its result cannot be used."""
    guard = raw.get("guard")
    guard = guard if isinstance(guard, dict) else {}
    misreads: dict[str, Callable[[str], str]] = {
        "only_if": lambda _: "",
        "acts_on": partial(installed()["run"].misread, "nodes"),
    }
    for name, misread in misreads.items():
        for place, text in texts_in(guard.get(name), ("guard", name)):
            # What reads the parameters of an action is checked with the action.
            if kind != "action" or "parameters" not in text:
                yield TemplateText(place, text), misread
    below = raw.get(kind) if kind else None
    if kind and isinstance(below, dict):
        for each in installed()[kind].template_texts(below):
            yield each._replace(place=(kind, *each.place)), partial(installed()[kind].misread, each.field)


def _places(raw: Mapping[str, object], kinds: Kinds) -> Iterator[Remark]:
    """Yield a remark for each field of a grouping or order that no event has, or that some events lack."""
    guard = raw.get("guard")
    fields: list[tuple[Place, object]] = [
        ((name,), raw.get(name)) for name in ("order_by", "fold", "once_per", "limit")
    ]
    limits = guard.get("at_most") if isinstance(guard, dict) else None
    if isinstance(limits, list):
        fields += [(("guard", "at_most", at), each) for at, each in enumerate(limits)]
    else:
        fields.append((("guard", "at_most"), limits))
    for where, below in fields:
        yield from _expression(where, below, kinds)
        by, place = (below.get("by"), (*where, "by")) if isinstance(below, dict) else (below, where)
        places = by if isinstance(by, list) else [by]
        for variable in variables(tuple(each for each in places if isinstance(each, str))):
            lacking, unpassed = kinds.lacking(variable), kinds.unpassed(variable)
            if unknown := kinds.unknown(variable):
                yield Remark(place, unknown)
            elif unpassed:
                whole = len(lacking) + len(unpassed) == len(kinds.kinds)
                message = not_passed(variable, unpassed, kinds, "all such events form one group")
                yield Remark(place, message, warning=not whole, fault=whole)
            elif lacking:
                message = f"{named(lacking)} cannot have data.{variable}: all such events form one group"
                yield Remark(place, message, warning=True)


def _facts(raw: Mapping[str, object], kinds: Kinds) -> Iterator[Remark]:
    """Yield a remark for each variable that an expression of `facts` reads and no event has."""
    wanted = raw.get("facts")
    for name, text in wanted.items() if isinstance(wanted, dict) else ():
        yield from _unknown(("facts", name), text, kinds)


def _unknown(place: Place, text: object, kinds: Kinds) -> Iterator[Remark]:
    if isinstance(text, str):
        with suppress(FilterError):
            yield from (Remark(place, wrong) for name in Filter(text).variables if (wrong := kinds.unknown(name)))


def _limits(raw: Mapping[str, object], kind: str | None) -> Iterator[Remark]:
    """Yield a remark for each limit of the entry *raw* that counts what its verb *kind* does not have."""
    guard = raw.get("guard")
    below = raw.get(kind) if kind else None
    if not isinstance(guard, dict) or kind is None:
        return
    runs_on_nodes = kind == "action" or (kind == "run" and _names_nodes(below))
    at_most = guard.get("at_most")
    limits = at_most if isinstance(at_most, list) else [at_most]
    per = [each.get("per") if isinstance(each, dict) else None for each in limits]
    about_nodes = [name for name in ("blast_radius", "first") if guard.get(name) is not None]
    about_nodes += ["at_most"] if "node" in per else []
    if not runs_on_nodes and (guard.get("acts_on") is None or "first" in about_nodes):
        for name in about_nodes:
            message = f"is about nodes, and {kind} runs on none: set run.nodes"
            yield Remark(("guard", name), message + ("" if name == "first" else ", or guard.acts_on"))
    if "first" in about_nodes and kind == "run" and isinstance(below, dict) and below.get("steps") is not None:
        yield Remark(("guard", "first"), "cannot be used with steps, which act on all their nodes: remove it")
    if kind != "action" and (wrong := {"action", "class"}.intersection(each for each in per if isinstance(each, str))):
        message = f"per: {min(wrong)} is for subscriptions with an action, and this one has {kind}"
        yield Remark(("guard", "at_most"), message)


def _names_nodes(run: object) -> bool:
    """Return whether the command *run*, or one of its steps, runs on nodes."""
    if not isinstance(run, dict):
        return False
    steps = [each for name in ("steps", "always") if isinstance(run.get(name), list) for each in run[name]]
    return any(isinstance(each, dict) and each.get("nodes") is not None for each in (run, *steps))


def _expression(where: Place, limit: object, kinds: Kinds) -> Iterator[Remark]:
    """Yield a remark for each variable that the expression `per` of *limit* reads and no event has."""
    per = limit.get("per") if isinstance(limit, dict) else None
    if per not in PER:
        yield from _unknown((*where, "per"), per, kinds)


def filter_remarks(place: Place, text: str, passes: Passing, *, receives: bool = False) -> Iterator[Remark]:
    """Yield remarks on the filter *text* for events that pass; with *receives*, others hand over events too."""
    kinds = passes.reached
    try:
        compiled = Filter(text)
    except FilterError as error:
        yield Remark(place, str(error))
        return
    if unknown := kinds.all_unknown(compiled.variables, compiled.about):
        yield from (Remark(place, each) for each in unknown)
        return
    remarks = () if receives else tuple(type_remarks(place, compiled, passes.events))
    yield from remarks
    if not all(each.warning for each in remarks):
        return
    trials = trials_of(compiled, passes)
    for name in compiled.variables:
        if lacking := _lacking(name, compiled, kinds, trials):
            message = f"{named(lacking)} cannot have data.{name}, so these events do not match"
            null = f"data.{name} != null && " if any(name in kinds.kinds[each].given for each in lacking) else ""
            yield Remark(place, f"{message}; if that is intended, write has(data.{name}) && {null}...", warning=True)
        if unpassed := [each for each in kinds.unpassed(name) if trials[each].reason or name in compiled.guarded]:
            all_fail = all(trials[each].reason for each in kinds.kinds)
            effect = f"has(data.{name}) is false" if name in compiled.guarded else "these events do not match"
            yield Remark(place, not_passed(name, unpassed, kinds, effect), warning=not all_fail, fault=all_fail)
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


def _lacking(name: str, compiled: Filter, kinds: Kinds, trials: Mapping[str, Trial]) -> Sequence[str]:
    """Return the types that cannot have the variable *name*, where the filter *compiled* does not allow for that."""
    types = kinds.lacking(name)
    if name in compiled.guarded:
        return [each for each in types if trials[each].reason and name in failing_as_null(compiled, kinds.kinds[each])]
    # An expression that checks the type or category may never read the variable: there the sample decides.
    return [each for each in types if trials[each].reason or not compiled.asks_for_type]


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


def text_remarks(
    found: TemplateText, passes: Passing, misread: Callable[[str], str], *, receives: bool, meta: object
) -> Iterator[Remark]:
    """Yield remarks on the template *found*; *misread* returns what is wrong with what it becomes."""
    kinds, place, text = passes.reached, found.place, found.text
    try:
        template = Template(text)
    except TemplateError as error:
        yield Remark(place, str(error))
        return
    if wrong := _not_there(found, template, kinds):
        yield from (Remark(place, each) for each in wrong)
        return
    yield from (Remark(place, each, warning=True) for each in callback_variables(text, kinds))
    if template.is_plain:
        return
    if not receives:
        yield from template_remarks(place, text, passes.reached_events)
    filling = Filling(template, misread, meta)
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
    for name, reason in () if passes.names_rules else filling.failures_without_about(kinds):
        yield Remark(place, f"for alerts that are not about {name}: {reason}", warning=True)
    if template.facts:
        sound = kinds.those(lambda each: not trials[each.event_type.type].reason)
        yield from _with_unknown_facts(place, filling, sound, passes)


def _not_there(found: TemplateText, template: Template, kinds: Kinds) -> list[str]:
    """Return what is wrong with the names that *template* reads: of variables, of earlier steps, of parameters."""
    if later := found.unknown_step(template.steps):
        return [later]
    if unknown := kinds.all_unknown(template.variables, template.about):
        return unknown
    if template.parameters:
        return [f"parameters are those of an action: write data.{template.parameters[0]} for a variable"]
    return []


def _unpassed(place: Place, template: Template, kinds: Kinds, trials: Mapping[str, Trial]) -> Iterator[Remark]:
    """Yield a remark for each variable of *template* that a registration does not pass: a fault where it then fails."""
    for name in template.variables:
        unpassed = kinds.unpassed(name)
        for fails, effect in ((True, "the template cannot be filled in"), (False, "counts as missing in the template")):
            if those := [each for each in unpassed if bool(trials[each].reason) is fails]:
                yield Remark(place, not_passed(name, those, kinds, effect), warning=not fails, fault=fails)


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


def not_passed(variable: str, types: Sequence[str], kinds: Kinds, effect: str) -> str:
    """Return that the registrations of *types* do not pass *variable*, the *effect*, and the setting that would."""
    registrations, do = ("the registration", "does") if len(types) == 1 else ("the registrations", "do")
    passing = f"{registrations} of {named(types)} {do} not pass %{variable}, so data.{variable} is absent and {effect}"
    return f"{passing}: {kinds.remedy(types, variable)}"
