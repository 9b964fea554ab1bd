"""Checks of filters and of comparisons in templates against the types of what they read, and which events may match."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, Self

from router.cluster.facts.models import unknown
from router.cluster.facts.views import Known
from router.model.events import Event
from router.settings.yaml_documents import Place
from router.sources.event_selectors import Selection, limits, narrow, select

from ..config.event_samples import Kinds, Remark, Samples
from ..errors import FilterError
from ..expressions import fact_paths, facts_cache
from ..expressions.fact_paths import Path
from ..expressions.filters import Filter
from ..expressions.templates import Template
from ..expressions.type_checks import template_conditions
from ..expressions.type_checks.checker import check, may_all_match
from ..expressions.type_checks.event_domains import Selected, of_sample
from ..expressions.values.alert_values import with_about

_ALWAYS_KNOWN = frozenset(("cluster", "age", "stale", "taken_at", "parts", "missing"))
"""The facts that are known if any are."""

_CALLBACK_VARIABLE = re.compile(r"%([A-Za-z]\w+)")


def selected(on: object, kinds: Kinds) -> Selected:
    """Return the events that the field *on* of a subscription selects, of which *kinds* are known; without it, all."""
    if on is None:
        return Selected.everything(kinds.catalogues)
    types = tuple(each.event_type for each in kinds.kinds.values())
    texts = [each for each in (on if isinstance(on, list) else [on]) if isinstance(each, str)]
    unknown, clusters, nodes = limits(texts, kinds.catalogues)
    return Selected(kinds.catalogues, types, unknown, clusters, nodes)


def selection(texts: object, samples: Samples) -> tuple[Selection, list[Remark]]:
    """Return everything that the *texts* of a field such as `on` select, one or a list, and remarks on each of them.

    Places of the remarks are below the field.
    """
    found, remarks = [], []
    for at, text in enumerate(texts if isinstance(texts, (list, tuple)) else [texts]):
        if isinstance(text, str):
            spot: Place = (at,) if isinstance(texts, list) else ()
            chosen = select(text, samples.registrations.catalogues)
            found.append(chosen)
            if chosen.mistake:
                remarks.append(Remark(spot, chosen.mistake))
            warnings = (chosen.warning, samples.registrations.why_none(chosen.types))
            remarks += [Remark(spot, each, warning=True) for each in warnings if each]
    by_type = {each.type: each for one in found for each in one.types}
    patterns = narrow(pattern for each in found for pattern in each.patterns)
    return Selection(patterns, tuple(by_type.values())), remarks


class Passing:
    """Which events that a subscription selects may match filters, which are asked in turn.

    If no event can match them all, that is a mistake of its own, which does not say which events are meant: then all
    are taken to pass.
    """

    def __init__(self, kinds: Kinds, events: Selected, filters: tuple[Filter, ...] = ()) -> None:
        """Ask *filters* about *events*, of which *kinds* are the known types."""
        self._kinds, self.events, self._asked = kinds, events, filters
        self._passes: dict[object, bool] = {}

    def asking(self, text: object) -> Passing:
        """Return which of these events may match the filter *text* too; one with mistakes is left out."""
        if not isinstance(text, str):
            return self
        try:
            return Passing(self._kinds, self.events, (*self._asked, Filter(text)))
        except FilterError:
            return self

    @cached_property
    def lets_nothing_pass(self) -> bool:
        """Whether no event can match all filters."""
        return bool(self._asked) and not any(may_all_match(self._asked, each) for each in self.events.names.values())

    @cached_property
    def reached(self) -> Kinds:
        """The known types of which any events may pass."""
        if not self._filters:
            return self._kinds
        varies = any(varying(each) or each.reads_all for each in self._filters)
        return self._kinds.those(
            lambda kind: any(self.may_pass(each, kind.sample) for each in (kind.variants if varies else (kind.sample,)))
        )

    @cached_property
    def reached_events(self) -> Selected:
        """The events of these types."""
        if not self._filters:
            return self.events
        return replace(self.events, types=tuple(each.event_type for each in self.reached.kinds.values()))

    @property
    def _filters(self) -> tuple[Filter, ...]:
        return () if self.lets_nothing_pass else self._asked

    def may_pass(self, event: Event, full: Event) -> bool:
        """Return whether events may pass that lack what *event* lacks, a sample like *full* without some variables."""
        if not self._filters:
            return True
        read = (event.type, *(event.id if each.reads_all else seen(event, each) for each in self._filters))
        if read not in self._passes:
            self._passes[read] = self._may_pass(event, full)
        return self._passes[read]

    def _may_pass(self, event: Event, full: Event) -> bool:
        # A filter may be false for the values of the sample only: ask those that read what is different.
        asked = (each for each in self._filters if seen(event, each) != seen(full, each))
        return may_all_match(self._filters, of_sample(self.events.names[event.type], event)) and all(
            each.matches(with_about(event, each.about), known(event, each.facts)).matched for each in asked
        )

    @property
    def names_rules(self) -> bool:
        """Whether a filter asks which rule an alert is of, or what it is about."""
        return any("rule" in each.variables or each.about for each in self._asked)

    def without_facts(self, event: Event, paths: Sequence[Path]) -> Iterator[tuple[Path | None, Known]]:
        """Yield each of *paths* with facts of which it alone is null, if *event* may pass then; at last, no facts."""
        every = (*paths, *(path for each in self._filters for path in each.facts))
        full = known(event, every) or unknown("")
        for path in fact_paths.longest(paths):
            if path.steps and path.steps[0] not in _ALWAYS_KNOWN and full.values is not None:
                lacking = replace(full, values=fact_paths.nulled(path, full.values))
                if self._may_pass_with(event, lacking, full):
                    yield path, lacking
        if self._may_pass_with(event, unknown(""), full):
            yield None, unknown("")

    def _may_pass_with(self, event: Event, lacking: Known, full: Known) -> bool:
        asked = (each for each in self._filters if _facts_read(each, event, lacking) != _facts_read(each, event, full))
        return all(each.matches(event, lacking).matched for each in asked)


class Stages(NamedTuple):
    """The events of an entry: all that are selected, those that arrive by its `where`, and those that are handled.

    *receives* says that others hand over events too (`handed_over`): then these are not all that it handles.
    """

    selected: Passing
    arriving: Passing
    handled: Passing
    receives: bool = False

    @classmethod
    def of(cls, raw: Mapping[str, object], kinds: Kinds, *, receives: bool = False) -> Self:
        """Return those of the entry *raw*, which selects *kinds*."""
        guard = raw.get("guard")
        every = Passing(kinds, selected(raw.get("on"), kinds))
        arriving = every.asking(raw.get("where"))
        handled = arriving.asking(guard.get("only_when") if isinstance(guard, dict) else None)
        return cls(every, arriving, handled, receives)


def _facts_read(asked: Filter, event: Event, from_: Known) -> Mapping[str, object] | None:
    return None if from_.values is None else fact_paths.narrowed(asked.facts, from_.values, event)


def varying(expression: Filter | Template) -> bool:
    """Return whether samples of one event type differ in what `seen` says of *expression*."""
    return bool(expression.variables) or "subject" in expression.text


def seen(event: Event, expression: Filter | Template) -> tuple[object, ...]:
    """Return what *expression* reads of *event*, at least."""
    data = (repr(event.data.get(name, KeyError)) for name in expression.variables)
    return (event.subject if "subject" in expression.text else None, *data)


def known(event: Event, paths: Sequence[Path]) -> Known | None:
    """Return sample facts for *event*, or None if *paths* is empty."""
    names = (step for path in paths for step in path.steps if isinstance(step, str))
    return facts_cache.sample(event, names) if paths else None


def type_remarks(place: Place, compiled: Filter, events: Selected) -> Iterator[Remark]:
    """Yield a remark for each part of the filter *compiled* that is the same for all *events*."""
    yield from (Remark(place, each.message, each.warning) for each in check(compiled, events))


def template_remarks(place: Place, text: str, events: Selected) -> Iterator[Remark]:
    """Yield a remark for each comparison of the valid template *text* that is the same for all *events*."""
    yield from (Remark(place, each.message, each.warning) for each in template_conditions.findings(text, events))


def callback_variables(text: str, kinds: Kinds) -> Iterator[str]:
    """Yield what to write for each variable in the template *text* that is written as in a callback: `%eventNode`."""
    words = dict.fromkeys(_CALLBACK_VARIABLE.findall(text))
    data = (item for kind in (kinds.kinds.values() if words else ()) for item in kind.sample.data.items())
    values = {name.lower(): (name, each) for name, each in data}
    for found in words:
        if found.lower() in values:
            name, value = values[found.lower()]
            joined = " | join(',')" if isinstance(value, (list, tuple)) else ""
            yield f"%{found} is passed as it is written: write {{{{ data.{name}{joined} }}}}"
