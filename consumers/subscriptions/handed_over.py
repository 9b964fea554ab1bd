"""Checks of subscriptions for the events that others hand over to them by `retry.then`.

The `on` and `where` of the subscription that receives them do not count for these events; its guard does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from router.settings.models import Settings
from router.settings.yaml_documents import Document, Place

from ..config.event_samples import Kinds, Remark, named
from ..errors import TemplateError
from ..expressions.templates import Template
from ..verbs.interface import Verb
from .expression_checks import Passing, Stages
from .semantic_checks import templates
from .trials import Filling, partly


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a file at *place*, *raw* as it is written, with its *verb* and its own *events*."""

    document: Document
    place: Place
    raw: Mapping[str, object]
    kind: str
    verb: Verb
    events: Stages

    @property
    def following(self) -> object:
        """The name of the subscription that receives what it gives up."""
        retry = self.raw.get("retry")
        return retry.get("then") if isinstance(retry, dict) else None

    @property
    def categories(self) -> Collection[str]:
        """The categories of its events."""
        return {each.event_type.category for each in self.events.handled.reached.kinds.values()}

    def handled(self, passes: Passing) -> Passing:
        """Return those events of *passes* that its guard lets pass."""
        guard = self.raw.get("guard")
        return passes.asking(guard.get("only_when") if isinstance(guard, dict) else None)


def receivers(content: object) -> Iterator[str]:
    """Yield the names in each `retry.then` of a file with this *content*, which may be anything."""
    top = content if isinstance(content, dict) else {}
    entries = top.get("subscriptions")
    for each in (top.get("defaults"), *(entries if isinstance(entries, list) else ())):
        retry = each.get("retry") if isinstance(each, dict) else None
        if isinstance(retry, dict) and isinstance(then := retry.get("then"), str):
            yield then


def check(entries: Mapping[str, Entry], settings: Settings) -> Iterator[tuple[Entry, Remark]]:
    """Yield what is wrong with each of *entries*, by name, for the events that others hand over to it."""
    for name, entry in entries.items():
        own = {*entry.verb.remarks(entry.events.handled.reached, settings)}
        for giver, arriving in _arriving(name, entries, (name,)):
            passes = entry.handled(arriving)
            if passes.lets_nothing_pass and not arriving.lets_nothing_pass:
                message = f"is never true for the events that {giver} hands over by `retry.then`"
                yield entry, Remark(("guard", "only_when"), message, warning=True)
                continue
            both = Kinds(passes.reached.registrations, {**entry.events.handled.reached.kinds, **passes.reached.kinds})
            for remark in _templates(entry, giver, passes, both):
                yield entry, remark
            for remark in entry.verb.remarks(both, settings):
                if remark not in own:
                    message = f"with the events that {giver} hands over: {remark.message}"
                    yield entry, Remark((entry.kind, *remark.place), message, remark.warning, remark.fault)


def _arriving(name: str, entries: Mapping[str, Entry], seen: tuple[str, ...]) -> Iterator[tuple[str, Passing]]:
    """Yield each entry that hands over to *name*, directly or through others, with its events."""
    for giver, each in entries.items():
        if each.following == name and giver not in seen:
            yield giver, each.events.handled
            for first, passes in _arriving(giver, entries, (*seen, giver)):
                yield first, each.handled(passes)


def _templates(entry: Entry, giver: str, passes: Passing, both: Kinds) -> Iterator[Remark]:
    """Yield each template of *entry* that cannot be filled in for events of *passes*, which *giver* hands over.

    A variable that none of *both* has, its own events and these, is a mistake in any case.
    """
    for (place, text, *_), misread in templates(entry.raw, entry.kind):
        try:
            filling = Filling(Template(text), misread, entry.raw.get("meta"))
        except TemplateError:
            continue
        if filling.template.is_plain or any(map(both.unknown, filling.template.variables)):
            continue
        trials, kinds = filling.trials(passes), passes.reached
        if types := [each for each, trial in trials.items() if trial.reason]:
            unpassed = {each for name in filling.template.variables for each in kinds.unpassed(name)}
            message = f"for {named(types)}, handed over by {giver}: {trials[types[0]].reason}"
            is_empty = filling.empty.issuperset(trials[each].reason for each in types)
            yield Remark(place, message, warning=is_empty, fault=not is_empty and unpassed.issuperset(types))
        for some, name, reason in partly(trials):
            what = f"data.{name} may not apply, and then {reason}" if name else reason
            yield Remark(place, f"for some events of {named(some)}, handed over by {giver}: {what}", warning=True)
