"""Checks of rules of alerts: their expressions and keys against the events that open and close them, and each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.errors import did_you_mean
from router.model.events import SEVERITIES
from router.settings import model_parts
from router.settings.models import Settings
from router.settings.yaml_documents import Document, Place

from ...alerts import shipped_rules
from ...alerts.owners import OWNER
from ...alerts.rules import Rule
from ...config.contact_names import unknown_contact
from ...config.event_samples import Kinds, Remark, Samples, named
from ...config.registrations import Registrations
from ...errors import FilterError
from ...expressions.filters import Filter
from ...policies.group_keys import variables
from ...verbs.interface import TemplateText
from ..expression_checks import Passing, selected, selection
from ..mistake_texts import message
from ..models import RuleEntry
from ..semantic_checks import filter_remarks, not_passed, text_remarks

TryRuleTests = Callable[[RuleEntry, Registrations], Iterator[tuple[Place, str]]]
"""Runs the `tests:` of a rule and yields the failures by place: `inspection.rule_tests.failures`."""

_PATTERN = frozenset(".*#")
"""What makes a pattern of topics of a text."""

_NAMELESS: Mapping[str, Any] = {"name": "x", "opens": "#", "closes_after": "1h"}
"""What stands for invalid fields while the rest of an entry is validated."""


@dataclass(frozen=True, slots=True)
class _Placed:
    document: Document
    place: Place
    rule: Rule
    written: frozenset[str]
    """The fields that the file has; the others are as shipped."""


@dataclass
class RuleChecks:
    """The rules of all files, checked one by one, and at last against each other.

    With *try_tests*, their tests are run too.
    """

    samples: Samples
    settings: Settings
    try_tests: TryRuleTests | None = None
    found: dict[str, _Placed] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """Where each name was first used."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the files that have no structural mistakes."""
        return tuple(each.rule for each in self.found.values())

    def entry(self, document: Document, place: Place, raw: Mapping[str, Any]) -> Iterator[Remark]:
        """Check the entry *raw* at *place*, keep its rule, and yield remarks on it."""
        completed = shipped_rules.completed(raw)
        entry, wrong = model_parts.validated(RuleEntry, completed, _NAMELESS)
        for part, error in wrong.items():
            said = message(RuleEntry, error)
            yield Remark(part, said + _meant(raw) if said.startswith("says nothing") else said)
        if entry is not None:
            yield from self._selected(raw)
        if entry is None or raw.get("enabled") is False:
            if entry and raw.get("name") not in shipped_rules.fields() and not raw.get("opens"):
                yield Remark(("name",), f"there is no shipped rule of this name to switch off{_meant(raw)}")
            elif entry and not wrong:
                self.found.setdefault(entry.name, _Placed(document, place, entry.rule, frozenset(raw)))
            return
        opening, closing = (self._events(completed, name) for name in ("opens", "closes"))
        for remark in (
            *_expressions(completed, opening, closing),
            *_keys(entry, opening, closing),
            *self._both(entry, closing),
            *self._contacts(entry),
        ):
            # What is as shipped is a mistake only together with what the site has written.
            if remark.place[0] in raw or not (remark.warning or remark.fault):
                yield remark
        if not wrong:
            self.found.setdefault(entry.name, _Placed(document, place, entry.rule, frozenset(raw)))
            for at, reason in self.try_tests(entry, self.samples.registrations) if self.try_tests else ():
                yield Remark(("tests", *at), reason)

    def together(self) -> Iterator[tuple[Document, Place, Remark]]:
        """Yield what is wrong with what rules suppress, once all are known."""
        written = {name: each.rule for name, each in self.found.items()}
        known = {**shipped_rules.rules(), **written} if written else {}
        for name, each in self.found.items():
            for at, other in enumerate(each.rule.suppresses if each.rule.enabled else ()):
                # One with mistakes is there, too.
                if other in known or other not in self.places:
                    for remark in _suppression(name, other, ("suppresses", at), known):
                        # Whoever switches a shipped rule off knows what has suppressed it.
                        if not remark.warning or "suppresses" in each.written:
                            yield each.document, each.place, remark

    def _events(self, completed: Mapping[str, Any], name: str) -> Passing:
        found, _ = selection(completed.get(name, ()), self.samples)
        kinds = Kinds.of(found.types, self.samples)
        return Passing(kinds, selected(completed.get(name, ()), kinds))

    def _selected(self, raw: Mapping[str, Any]) -> Iterator[Remark]:
        for name in ("opens", "closes"):
            if raw.get(name) is not None:
                _, remarks = selection(raw[name], self.samples)
                for each in remarks:
                    yield Remark((name, *each.place), each.message, each.warning)

    def _both(self, entry: Rule, closing: Passing) -> Iterator[Remark]:
        """Yield which events would open and close the same alert: they open it."""
        if entry.opens_if is not None:
            return
        # A pattern may be about other clusters or nodes.
        opens, _ = selection([each for each in entry.opens if not _PATTERN.intersection(each)], self.samples)
        closes = closing.asking(entry.closes_if).reached.kinds
        if both := [each.type for each in opens.types if each.type in closes]:
            nothing = len(both) == len(closes) and not (entry.closes_when or entry.closes_after)
            message = f"{named(both)} is in `opens` too, and such an event opens the alert: leave it out there"
            yield Remark(("closes",), message, warning=not nothing)

    def _contacts(self, entry: Rule) -> Iterator[Remark]:
        if entry.owner == OWNER:
            yield Remark(("owner",), "the owner is who consumers.owners in the settings says: leave it out")
        escalated = entry.escalate.to if entry.escalate else OWNER
        contacts = self.settings.consumers.contacts
        for place, name in ((("escalate", "to"), escalated), (("owner",), entry.owner or OWNER)):
            if name != OWNER and (wrong := unknown_contact(name, contacts)):
                yield Remark(place, wrong)


def _meant(raw: Mapping[str, Any]) -> str:
    name = raw.get("name")
    known = shipped_rules.fields()
    return did_you_mean(name, known) if isinstance(name, str) and name not in known else ""


def _expressions(completed: Mapping[str, Any], opening: Passing, closing: Passing) -> Iterator[Remark]:
    """Yield remarks on the expressions and the summary of a rule, for the events that each is about."""
    opened = opening.asking(completed.get("opens_if"))
    severities = completed.get("severity_if")
    severities = severities if isinstance(severities, dict) else {}
    about: list[tuple[Place, object, Passing]] = [
        (("opens_if",), completed.get("opens_if"), opening),
        (("closes_if",), completed.get("closes_if"), closing),
        (("closes_when",), completed.get("closes_when"), opened),
        *((("severity_if", name), each, opened) for name, each in severities.items() if name in SEVERITIES),
    ]
    for place, text, events in about:
        if isinstance(text, str):
            yield from filter_remarks(place, text, events)
    if completed.get("closes_if") is not None and not completed.get("closes"):
        yield Remark(("closes_if",), "says which events close the alert, and `closes` names none: add it")
    if completed.get("ask_every") is not None and completed.get("closes_when") is None:
        yield Remark(("ask_every",), "says how often facts are asked, and no `closes_when` asks them: add it")
    if isinstance(when := completed.get("closes_when"), str) and _reads_no_facts(when):
        yield Remark(("closes_when",), "reads no facts, so it never changes: write closes_if for an event that closes")
    if isinstance(text := completed.get("summary"), str):
        yield from text_remarks(TemplateText(("summary",), text), opened, lambda _: "", receives=False, meta=None)


def _reads_no_facts(text: str) -> bool:
    try:
        return not Filter(text).facts
    except FilterError:
        return False


def _keys(entry: Rule, opening: Passing, closing: Passing) -> Iterator[Remark]:
    """Yield what is wrong with `by`: variables that the events that open lack, or those that close."""
    opened = opening.asking(entry.opens_if).reached
    closed = closing.asking(entry.closes_if).reached
    for variable in variables(entry.by):
        if unknown := opened.unknown(variable):
            yield Remark(("by",), unknown)
            continue
        if unpassed := opened.unpassed(variable):
            effect = "all such events are about one alert"
            yield Remark(("by",), not_passed(variable, unpassed, opened, effect), fault=True)
        elif lacking := opened.lacking(variable):
            message = f"{named(lacking)} cannot have data.{variable}: all such events are about one alert"
            yield Remark(("by",), message, warning=True)
        if lacking := closed.lacking(variable):
            nothing = len(lacking) == len(closed.kinds) and not (entry.closes_when or entry.closes_after)
            message = f"{named(lacking)} cannot have data.{variable}, so they close no alert that was opened with it"
            yield Remark(("by",), message, warning=not nothing)
        elif unpassed := closed.unpassed(variable):
            effect = "these events close no alert that was opened with it"
            yield Remark(("by",), not_passed(variable, unpassed, closed, effect), fault=True)


def _suppression(name: str, other: str, place: Place, rules: Mapping[str, Rule]) -> Iterator[Remark]:
    """Yield what is wrong with the rule *name* suppressing alerts of *other*."""
    if other not in rules:
        yield Remark(place, f"there is no rule {other!r}{did_you_mean(other, rules)}")
    elif (way := _way(other, name, rules)) is not None:
        chain = " suppresses ".join((name, *way))
        yield Remark(
            place, f"no alert of them would notify anybody: {chain}" if way[1:] else "a rule cannot suppress itself"
        )
    elif not rules[other].enabled:
        yield Remark(place, f"{other} is switched off", warning=True)


def _way(start: str, end: str, rules: Mapping[str, Rule]) -> Sequence[str] | None:
    """Return the rules by which *start* suppresses *end*, both included; None if it does not."""
    waiting: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    while waiting:
        way = waiting.pop(0)
        if way[-1] == end:
            return way
        last = rules.get(way[-1])
        for each in last.suppresses if last and last.enabled else ():
            if each not in seen:
                seen.add(each)
                waiting.append((*way, each))
    return None
