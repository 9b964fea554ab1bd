"""Runs the tests of rules of alerts on a simulated clock, through the same functions as the engine.  No store.

A test is about the alerts of one rule: what other rules suppress, and groups, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from router.cluster.facts.parts import WHOLE, of_file_system, usage_of_file_system
from router.cluster.facts.views import Known
from router.errors import UnknownEvent, UnknownVariable
from router.model.catalogue import Catalogues
from router.model.event_words import named
from router.model.events import Event
from router.model.ids import new_id
from router.settings.yaml_documents import Place

from ..alert_engine.due_work import DueWork
from ..alerts.active_rules import ActiveRules
from ..alerts.alert_row import AlertRow, key_of
from ..alerts.life.changes import Change
from ..alerts.life.observations import Act, Observation
from ..alerts.life.policy import Policy
from ..alerts.life.subject import Subject
from ..alerts.life.surroundings import Surroundings
from ..alerts.life.unit_of_work import Times, UnitOfWork
from ..alerts.rules import Rule
from ..alerts.sightings import Sighting
from ..config.registrations import Registrations
from ..config.synthetic_events import synthetic_event
from ..errors import SyntheticEventError
from ..subscriptions.models import RuleEntry
from ..subscriptions.test_cases import Step, as_known
from .test_runner import START

_MOST_STEPS = 200_000
"""The most times at which something is due in one test."""

_MOST_WORDS = 20
"""The most changes that an error lists."""

_MOMENT = timedelta(milliseconds=1)
_NOTHING = "nothing"


class TooLong(Exception):
    """A test in which more is due than can be run."""


def failures(entry: RuleEntry, registrations: Registrations) -> Iterator[tuple[Place, str]]:
    """Yield where a test of *entry* fails, below `tests`, and how; events are made with *registrations*."""
    for number, test in enumerate(entry.tests):
        simulation = Simulation(entry.rule, registrations.catalogues)
        for at, step in enumerate(test.steps):
            try:
                wrong = simulation.step(step, registrations)
            except (UnknownEvent, UnknownVariable, SyntheticEventError, TooLong) as error:
                wrong = str(error)
            if wrong:
                yield (number, "steps", at), wrong
                break


class Simulation:
    """The alerts of one rule, and the clock."""

    def __init__(self, rule: Rule, catalogues: Catalogues) -> None:
        """Begin at START without any alert."""
        self._facts = _Facts()
        self._rule = rule
        self._rules = ActiveRules([rule.model_copy(update={"enabled": True})], catalogues, self._facts)
        self._policy = replace(Policy.of(rule), group_over=None)
        self._subjects: dict[str, Subject] = {}
        self._now = START
        self._latest: AlertRow | None = None
        self._steps = 0

    def step(self, step: Step, registrations: Registrations) -> str:
        """Do what *step* says; return what was expected and what happened if they differ, otherwise an empty text."""
        changes = self._pass(step.after or _MOMENT)
        hint = ""
        if step.facts is not None:
            self._facts.read(step.facts, self._now)
            changes += self._ask()
        if step.event is not None:
            event = _event(step, registrations, self._now)
            seen = self._rules.seen(event)
            hint = "" if seen else "; the event neither opens nor closes alerts of this rule"
            changes += self._work(lambda unit: self._see(unit, event, seen))
        if step.act:
            hint = "" if any(each.row for each in self._subjects.values()) else f"{hint}; no alert is open by then"
            changes += self._act(step.act)
        return _difference(step, changes, self._latest, hint)

    def _pass(self, duration: timedelta) -> list[Change]:
        """Let time pass, and do what is due in it."""
        end, changes = self._now + duration, list[Change]()
        while (due := min(self._due(), default=None)) is not None and due <= self._passed(end):
            self._now = max(self._now, START + due * _MOMENT)
            changes += self._do_due([*self._subjects.values()])
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise TooLong(f"more than {_MOST_STEPS} things are due in this test: let less time pass")
        self._now = end
        return changes

    def _passed(self, moment: datetime) -> int:
        return (moment - START) // _MOMENT

    def _due(self) -> Iterator[int]:
        """Yield the times when something is due; facts are asked when a step gives some."""
        for each in self._subjects.values():
            row = each.row
            due = (row.tell_due, row.remind_due, row.escalate_due) if row else ()
            yield from (time for time in (each.quiet_due, *due) if time is not None)

    def _work(self, does: Callable[[UnitOfWork], None]) -> list[Change]:
        times = Times(self._now, self._passed(self._now), self._now)
        unit = UnitOfWork(times, self._subjects, Surroundings({}))
        does(unit)
        told = [each for each in unit.changes if not each.why]
        if told:
            self._latest = told[-1].row
        return told

    def _do_due(self, subjects: Sequence[Subject]) -> list[Change]:
        def does(unit: UnitOfWork) -> None:
            work = DueWork(unit, self._asked, lambda *_: False)
            for each in subjects:
                work.close_quiet(each)
                work.look(each)

        return self._work(does)

    def _ask(self) -> list[Change]:
        for each in self._subjects.values():
            if each.row and each.row.ask_due is not None:
                each.row = replace(each.row, ask_due=self._passed(self._now))
        return self._do_due([*self._subjects.values()])

    def _asked(self, subject: Subject, row: AlertRow) -> datetime | None:
        opening = subject.observed(row.last_opening)
        event = Event.from_json(opening.body) if opening and opening.body else None
        return self._rules.fact_says_closed(row.rule, event, row.about) if event else None

    def _see(self, unit: UnitOfWork, event: Event, seen: Sequence[Sighting]) -> None:
        for each in seen:
            key = key_of(each.rule, each.cluster, each.about)
            if key not in self._subjects:
                self._subjects[key] = Subject(key, each.rule, each.cluster, each.about, self._policy)
                unit.subjects[key] = self._subjects[key]
            unit.observe(key, Observation.of(event, each, asks_facts=True))

    def _act(self, act: Act) -> list[Change]:
        def does(unit: UnitOfWork) -> None:
            for key, subject in self._subjects.items():
                if subject.row is not None:
                    at = subject.after_all(self._now)
                    unit.observe(key, Observation(id=new_id(at), at=at, kind=act, cause="person", by="test"))

        return self._work(does)


class _Facts:
    """The facts of every cluster, as the last step gave them."""

    def __init__(self) -> None:
        self._known = as_known({})

    def begin(self) -> None:
        """There is nothing to begin."""

    def of(self, cluster: str) -> Known:  # noqa: ARG002 - the protocol
        return self._known

    def read(self, facts: Mapping[str, Any], moment: datetime) -> None:
        names = facts.get("file_systems") or {}
        parts = [*WHOLE, *(part for name in names for part in (*of_file_system(name), *usage_of_file_system(name)))]
        self._known = as_known(facts, dict.fromkeys(parts, moment))


def _event(step: Step, registrations: Registrations, moment: datetime) -> Event:
    event_type = named(step.event or "", registrations.catalogues)
    return synthetic_event(event_type, step.data, registrations, moment=moment, node=step.node, cluster=step.cluster)


def _counted(words: Sequence[str]) -> str:
    """Return *words* with equal ones that follow each other counted, and at most so many.

    >>> _counted(["escalated", "reminded", "reminded"])
    'escalated, reminded (2 times)'
    """
    runs = [(word, sum(1 for _ in same)) for word, same in groupby(words)]
    shown = [word if count == 1 else f"{word} ({count} times)" for word, count in runs[:_MOST_WORDS]]
    return ", ".join([*shown, "..."] if len(runs) > _MOST_WORDS else shown)


def _difference(step: Step, changes: Sequence[Change], latest: AlertRow | None, hint: str) -> str:
    words = [each.name.removeprefix("alert").lower() for each in changes] or [_NOTHING]
    expected = step.expect and [*step.expect]
    state, severity = (latest.state, latest.severity) if latest else (None, None)
    wrong = []
    if expected and expected != words:
        wrong.append(f"expected {', '.join(expected)}, got {_counted(words)}")
    if step.state and step.state != state:
        wrong.append(f"expected the state {step.state}, got {state or 'no alert'}")
    if step.severity and step.severity != severity:
        wrong.append(f"expected the severity {step.severity}, got {severity or 'no alert'}")
    return "; ".join(wrong) + hint if wrong else ""
