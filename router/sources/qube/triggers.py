"""Triggers: what Qube calls an event, and which of them are wanted.  Pure.

A trigger is `name-type-context-extra`: `failed-job-self`, `failed-work-self-*`.  The catalogue has the first two words
as an alias of the event type.  Triggers are made here from that list only, never taken apart: a label in one may hold
a `-` itself.
"""

from dataclasses import dataclass

from ...catalogue import Catalogue, EventType
from ...errors import SettingsError, UnknownEvent
from ...sections import QubeSettings

PREFIX = "clusterbus_"
SUFFIX = ".py"
DEFAULT = "default"
_OF_PARTS = ("subjob", "work")
_REPEATING = {"job": "doneJob", "work": "doneWork"}


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger that is wanted, the *event* that it becomes, and the *file* that it runs."""

    event: str
    expression: str
    file: str


def trigger_of(event_type: EventType) -> Trigger:
    """Return the trigger of *event_type*, for this job, and for any part of it.

    >>> from router.catalogue import load
    >>> trigger_of(load("qube").event("failedWork"))
    Trigger(event='failedWork', expression='failed-work-self-*', file='clusterbus_failed_work.py')
    """
    spelled = event_type.aliases[0]
    part = "-*" if event_type.category in _OF_PARTS else ""
    return Trigger(event_type.name, f"{spelled}-self{part}", f"{PREFIX}{spelled.replace('-', '_')}{SUFFIX}")


def wanted_triggers(settings: QubeSettings, catalogue: Catalogue) -> tuple[Trigger, ...]:
    """Return the triggers that *settings* ask for, in the catalogue's order.

    Raises SettingsError for a word that is no event, category or `default`.
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
                raise SettingsError(
                    f"qube.{key}: {error}; it may be {DEFAULT}, a family ({families}) or an event"
                ) from error
    return named


def doubtful(triggers: tuple[Trigger, ...], catalogue: Catalogue) -> tuple[str, ...]:
    """Return what should be known of *triggers* that are not on by default."""
    names = {each.event for each in triggers}
    said = []
    for category, repeating in _REPEATING.items():
        others = [f"{each}{category.capitalize()}" for each in ("complete", "failed", "killed")]
        if repeating in names and names & set(others):
            said.append(
                f"{repeating} repeats {', '.join(each for each in others if each in names)}: leave out one or the other"
            )
    parts = [each.event for each in triggers if catalogue.event(each.event).category in _OF_PARTS]
    if parts:
        said.append(f"{', '.join(parts)}: one record for each frame or instance of every job of the farm")
    unsure = [each.expression for each in triggers if catalogue.event(each.event).status["name"] == "unconfirmed"]
    if unsure:
        said.append(f"{', '.join(unsure)}: whether Qube knows this trigger is unconfirmed; submit a job and look")
    return tuple(said)
