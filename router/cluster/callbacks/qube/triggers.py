"""Triggers, Qube's names for events, and the choice of the wanted ones.  Pure.

A trigger is `name-type-context-extra`: `failed-job-self`, `failed-work-self-*`.  The catalogue holds the first two
words as an alias of the event type.  Triggers are only built from that list, never parsed: a label in a trigger may
contain a `-`.
"""

from dataclasses import dataclass

from ....errors import SettingsError, UnknownEvent
from ....model.catalogue import Catalogue, EventType
from ....settings.models import QubeSettings

PREFIX = "clusterbus_"
SUFFIX = ".py"
DEFAULT = "default"
_OF_PARTS = ("subjob", "work")
_REPEATING = {"job": "doneJob", "work": "doneWork"}


@dataclass(frozen=True, slots=True)
class Trigger:
    """One wanted trigger, with the *event* that it captures and the *file* that it runs."""

    event: str
    expression: str
    file: str


def trigger_of(event_type: EventType) -> Trigger:
    """Return the trigger of *event_type*, for the job itself, and for any of its parts if the event is about parts.

    >>> from router.model.catalogue import load
    >>> trigger_of(load("qube").event("failedWork"))
    Trigger(event='failedWork', expression='failed-work-self-*', file='clusterbus_failed_work.py')
    """
    spelled = event_type.aliases[0]
    part = "-*" if event_type.category in _OF_PARTS else ""
    return Trigger(event_type.name, f"{spelled}-self{part}", f"{PREFIX}{spelled.replace('-', '_')}{SUFFIX}")


def wanted_triggers(settings: QubeSettings, catalogue: Catalogue) -> tuple[Trigger, ...]:
    """Return the triggers for *settings*, in the catalogue's order.

    Raises SettingsError for a word that is not an event, a category or `default`.
    """
    taken = _named("events", settings.events, catalogue) - _named("without", settings.without, catalogue)
    return tuple(trigger_of(each) for name, each in catalogue.events.items() if name in taken)


def _named(key: str, words: tuple[str, ...], catalogue: Catalogue) -> set[str]:
    named: set[str] = set()
    for word in words:
        if word == DEFAULT:
            named |= {name for name, each in catalogue.events.items() if each.default}
        elif word in catalogue.categories:
            named |= {name for name, each in catalogue.events.items() if each.category == word}
        else:
            try:
                named.add(catalogue.event(word).name)
            except UnknownEvent as error:
                families = ", ".join(catalogue.categories)
                raise SettingsError(f"qube.{key}: {error}; use {DEFAULT}, a family ({families}) or an event") from error
    return named


def trigger_warnings(triggers: tuple[Trigger, ...], catalogue: Catalogue) -> tuple[str, ...]:
    """Return warnings about *triggers* that repeat others, come very often, or are unconfirmed."""
    names = {each.event for each in triggers}
    warnings = []
    for category, repeating in _REPEATING.items():
        others = [f"{each}{category.capitalize()}" for each in ("complete", "failed", "killed")]
        if repeating in names and names & set(others):
            repeated = ", ".join(each for each in others if each in names)
            warnings.append(f"{repeating} repeats {repeated}: leave out either {repeating} or the others")
    parts = [each.event for each in triggers if catalogue.event(each.event).category in _OF_PARTS]
    if parts:
        warnings.append(f"{', '.join(parts)}: one record for each frame or instance of every job on the farm")
    unsure = [each.expression for each in triggers if catalogue.event(each.event).status["name"] == "unconfirmed"]
    if unsure:
        warnings.append(f"{', '.join(unsure)}: it is not confirmed that Qube has this trigger: submit a job to test it")
    return tuple(warnings)
