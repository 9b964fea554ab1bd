"""The rules in force, compiled: which alerts an event opens or closes, and which the facts say are over.

Where an event lists several nodes or disks, it opens or closes an alert for each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import islice, product
from typing import Any

from router.cluster.facts.views import Known
from router.model.catalogue import Catalogues, EventType
from router.model.events import OWN, SEVERITIES, Event, Severity
from router.model.node_words import word_of
from router.model.topics import matches
from router.pipeline.reports.confirmations import ENDS, report_in
from router.pipeline.reports.confirmations import NAME as REPORT_CONFIRMED
from router.sources.event_selectors import narrow, select

from ..errors import TemplateError
from ..expressions.fact_paths import FACTS
from ..expressions.facts_cache import ClusterFacts
from ..expressions.filters import Filter
from ..expressions.templates import Template
from ..policies.group_keys import place_of, value_at
from . import fact_parts
from .alert_row import About
from .rules import Rule
from .sightings import LONGEST_SUMMARY, MOST_OPENED, Sighting, confirming, shown, with_left_out

log = logging.getLogger(__name__)

MOST = 10_000
"""Most alerts of one rule that one event opens or closes: more than a cluster has nodes."""

_NODES = frozenset(("node", "nodes"))

EarlierKey = tuple[str, tuple[str, ...]]
"""A rule, and the names of what an alert of it is about."""


class ActiveRules:
    """All rules that are in force; any thread may use them.  *patterns* are the bindings for what opens and closes."""

    def __init__(
        self,
        rules: Sequence[Rule],
        catalogues: Catalogues,
        facts: ClusterFacts | None = None,
        owner_of: Callable[[Event], str | None] = lambda _: None,
    ) -> None:
        """Compile those of *rules* that are enabled.  They are valid: `subscriptions.validation` checks them.

        Expressions read *facts*; without them, what needs facts is not true.  *owner_of* returns the contact for what
        an event is about, where the rule names none.
        """
        self.rules: Mapping[str, Rule] = {each.name: each for each in rules if each.enabled}
        # An event that opens a cause and its effect opens the cause first, which then suppresses the effect.
        self._compiled = {name: _Compiled(self.rules[name], catalogues) for name in _causes_first(self.rules)}
        triggers = [trigger for each in self._compiled.values() for trigger in (each.opens, each.closes)]
        patterns = [pattern for each in triggers for pattern in each.patterns]
        if any(each.rule.suppresses or each.rule.group or each.closes.types & ENDS for each in self._compiled.values()):
            patterns += select(REPORT_CONFIRMED, catalogues).patterns
        self.patterns: Sequence[str] = narrow(patterns)
        self._catalogues, self._facts, self._owner_of = catalogues, facts, owner_of
        self._by_type: dict[str, list[_Compiled]] = {}
        for each in self._compiled.values():
            for name in each.opens.types | each.closes.types:
                self._by_type.setdefault(name, []).append(each)

    @property
    def needs_facts(self) -> bool:
        """Whether what events open and close depends on facts of their clusters, beside what facts close."""
        return any(FACTS in text for each in self.rules.values() for text in _texts(each))

    def seen(self, event: Event) -> Sequence[Sighting]:
        """Return what *event* opens and closes; never raises.

        Where one event would open and close the same alert, it opens it.
        """
        if event.type == f"{OWN}.{REPORT_CONFIRMED}":
            report = report_in(event)
            return [*confirming(self.seen(report), report)] if report else []
        # No catalogue has this type, so patterns decide.
        concerned = self._by_type.get(event.type, ()) if self._is_known(event) else self._compiled.values()
        return [each for rule in concerned for each in self._sightings(rule, event)]

    def closing_earlier(self, event: Event, keys: Iterable[EarlierKey]) -> Iterator[Sighting]:
        """Yield what *event* closes of alerts that opened when their rules had other places in `by`; never raises."""
        if event.type == f"{OWN}.{REPORT_CONFIRMED}":
            if report := report_in(event):
                yield from confirming(self.closing_earlier(report, keys), report)
            return
        for rule, names in keys:
            compiled = self._compiled.get(rule)
            if compiled and compiled.closes.selects(event):
                by = tuple(place_of(each) for each in names)
                earlier = copy(compiled)
                earlier.rule = compiled.rule.model_copy(update={"by": by})
                yield from (each for each in self._sightings(earlier, event) if not each.opens)

    def earlier_keys(self, keys: Iterable[EarlierKey]) -> frozenset[EarlierKey]:
        """Return those of *keys* that are not what their rules say now, of rules that events close."""
        now = {name: tuple(by.removeprefix("data.") for by in each.by) for name, each in self.rules.items()}
        return frozenset((rule, names) for rule, names in keys if rule in now and now[rule] != names)

    def fact_says_closed(self, rule: str, opening: Event, about: About) -> datetime | None:
        """Return when the facts were read that say that the alert of *rule* on *about* is over.

        None if they do not say so, are not known, or are older than *opening*, the event that opened it last: what they
        say was true before.  Never raises.
        """
        compiled = self._compiled.get(rule)
        if compiled is None or compiled.closes_when is None or self._facts is None:
            return None
        event, known = self.narrowed(compiled.rule, opening, about), self._facts.of(opening.cluster)
        if not compiled.closes_when.matches(event, known).matched:
            return None
        moment = fact_parts.confirmed(compiled.closes_when.facts, known, event)
        return moment if moment and moment > opening.moment else None

    def _is_known(self, event: Event) -> bool:
        return event.name in self._catalogues.of(event.origin).events

    def _sightings(self, compiled: _Compiled, event: Event) -> Sequence[Sighting]:
        opens, closes = compiled.opens.selects(event), compiled.closes.selects(event)
        if not opens and not closes:
            return []
        opened: list[Sighting] = []
        closed: list[Sighting] = []
        left_out: list[About] = []
        for about, alone in self._each(compiled.rule, event):
            if opens and self._is_true(compiled.opens.condition, alone):
                if len(opened) < MOST_OPENED:
                    opened.append(self._opening(compiled, alone, about))
                else:
                    left_out.append(about)
            elif closes and self._is_true(compiled.closes.condition, alone):
                severity = compiled.rule.severity or event.severity
                node = self._node(compiled.rule, alone)
                closed.append(
                    Sighting(compiled.rule.name, event.cluster, about, opens=False, severity=severity, node=node)
                )
        if left_out:
            opened[-1] = with_left_out(opened[-1], left_out, event)
        return [*opened, *closed]

    def _opening(self, compiled: _Compiled, event: Event, about: About) -> Sighting:
        rule = compiled.rule
        severity = next((level for level, each in compiled.severities if self._is_true(each, event)), None)
        return Sighting(
            rule.name,
            event.cluster,
            about,
            opens=True,
            severity=severity or rule.severity or event.severity,
            summary=self._summary(compiled, event, about),
            node=self._node(rule, event),
            owner=rule.owner or self._owner_of(event),
        )

    def _each(self, rule: Rule, event: Event) -> Iterator[tuple[About, Event]]:
        """Yield what each alert of *rule* is about that *event* concerns, with the event of that alone."""
        names = [each.removeprefix("data.") for each in rule.by]
        values = [value_at(event, each) for each in rule.by]
        if not any(isinstance(each, list) for each in values):
            yield tuple(zip(names, values, strict=True)), event  # type: ignore[arg-type]  # attributes are texts
            return
        combined = product(*(each if isinstance(each, list) else (each,) for each in values))
        found = [tuple(zip(names, each, strict=True)) for each in islice(combined, MOST + 1)]
        if len(found) > MOST:
            log.error("an event is about too many alerts", extra={"rule": rule.name, "event": event.id, "limit": MOST})
        for about in dict.fromkeys(found[:MOST]):
            yield about, self.narrowed(rule, event, about)

    @staticmethod
    def narrowed(rule: Rule, event: Event, about: About) -> Event:
        """Return *event* with only that of *about* in its lists, so that what it says of others is not mixed in."""
        variables = (each.removeprefix("data.") for each in rule.by if each.startswith("data."))
        given = dict(about)
        narrowed = {
            name: [given[name]] for name in variables if isinstance(event.data.get(name), list) and name in given
        }
        return event.model_copy(update={"data": {**event.data, **narrowed}}) if narrowed else event

    def _is_true(self, condition: Filter | None, event: Event) -> bool:
        return condition is None or condition.matches(event, self._known(event, condition.facts)).matched

    def _known(self, event: Event, facts: Sequence[object]) -> Known | None:
        return self._facts.of(event.cluster) if facts and self._facts else None

    def _summary(self, compiled: _Compiled, event: Event, about: About) -> str:
        if compiled.summary:
            try:
                about_event = _Rendered(event, self._known(event, compiled.summary.facts))
                return " ".join(compiled.summary.render_text(about_event).split())[:LONGEST_SUMMARY]
            except TemplateError as error:
                # An alert without a good sentence is better than none; `check` names what is not passed.
                log.debug("the summary of an alert cannot be filled in", extra={"reason": str(error)})
        return _default_summary(self._catalogues.of(event.origin).get(event.name), event, about)

    def _node(self, rule: Rule, event: Event) -> str:
        """Return the node that an alert of *rule* is about, by the first place in `by` that names one."""
        catalogue = self._catalogues.of(event.origin)
        for place in rule.by:
            variable = catalogue.variable(place.removeprefix("data.")) if place.startswith("data.") else None
            value = value_at(event, place)
            name = value[0] if isinstance(value, list) and value else value
            if place == "node" or (variable and variable.type in _NODES):
                return word_of(name) if isinstance(name, str) else ""
        return ""


class _Trigger:
    """What opens, or what closes: events of these *types* and *patterns*, if the *condition* is true of them."""

    def __init__(self, texts: Sequence[str], condition: str | None, catalogues: Catalogues) -> None:
        selected = [select(each, catalogues) for each in texts]
        self.patterns = narrow(pattern for each in selected for pattern in each.patterns)
        self.types = frozenset(each.type for one in selected for each in one.types)
        self._condition = condition

    @cached_property
    def condition(self) -> Filter | None:
        """The filter, compiled when the first event needs it."""
        return Filter(self._condition) if self._condition else None

    def selects(self, event: Event) -> bool:
        """Return whether *event* has one of the topics, whatever the condition says of it."""
        return any(matches(each, event.topic) for each in self.patterns)


class _Compiled:
    """One rule with its expressions."""

    def __init__(self, rule: Rule, catalogues: Catalogues) -> None:
        self.rule = rule
        self.opens = _Trigger(rule.opens, rule.opens_if, catalogues)
        self.closes = _Trigger(rule.closes, rule.closes_if, catalogues)

    @cached_property
    def closes_when(self) -> Filter | None:
        return Filter(self.rule.closes_when) if self.rule.closes_when else None

    @cached_property
    def severities(self) -> Sequence[tuple[Severity, Filter]]:
        """The expressions of severities, the most severe first."""
        given = self.rule.severity_if
        return [(each, Filter(given[each])) for each in reversed(SEVERITIES) if each in given]

    @cached_property
    def summary(self) -> Template | None:
        return Template(self.rule.summary) if self.rule.summary else None


@dataclass(frozen=True, slots=True)
class _Rendered:
    """What a summary is rendered from: the event, and the facts if it reads any."""

    event: Event
    known: Known | None

    def as_dict(self) -> Mapping[str, Any]:
        return self.event.as_dict() | ({"facts": self.known.for_templates()} if self.known else {})


def _causes_first(rules: Mapping[str, Rule]) -> Sequence[str]:
    """Return the names of *rules*, each before those that it suppresses; as they are if some do so in a circle."""
    causes: dict[str, set[str]] = {name: set() for name in rules}
    for name, rule in rules.items():
        for other in causes.keys() & {*rule.suppresses}:
            causes[other].add(name)
    try:
        return [*TopologicalSorter(causes).static_order()]
    except CycleError:
        return [*rules]


def _texts(rule: Rule) -> Iterator[str]:
    """Yield the expressions and templates of *rule* that are asked about events."""
    yield from (each for each in (rule.opens_if, rule.closes_if, rule.summary, *rule.severity_if.values()) if each)


def _default_summary(event_type: EventType | None, event: Event, about: About) -> str:
    meaning = event_type.meaning if event_type else event.name
    values = shown(about)
    return (f"{meaning.rstrip('.')}: {values}" if values else meaning)[:LONGEST_SUMMARY]
