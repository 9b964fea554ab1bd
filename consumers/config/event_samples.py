"""The event types that a subscription selects, with samples of each as they come to this site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from router.errors import did_you_mean
from router.model.catalogue import Catalogues, EventType
from router.model.events import Event
from router.settings.yaml_documents import Place

from .registrations import Registrations
from .synthetic_events import sample, variants

EXTRA = "arguments"
"""The variable of arguments that belong to no other variable; any event may have it."""

_SHOWN = 3
"""How many event types a message names."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A message about a place in an entry; a *warning* is about something that may not be intended.

    A *fault* is about this machine or site, such as a script that cannot start, or a variable that no registration
    passes: `check` fails, and consumers do what they can.
    """

    place: Place
    message: str
    warning: bool = False
    fault: bool = False


@dataclass(frozen=True)
class Kind:
    """An event type as it comes to this site, by its *registrations*; samples of it are made when they are needed."""

    event_type: EventType
    registrations: Registrations = field(repr=False)

    @cached_property
    def sample(self) -> Event:
        """A sample with all variables that the registrations pass, made as the router makes events."""
        return sample(self.event_type, self.registrations)

    @cached_property
    def variants(self) -> tuple[Event, ...]:
        """That sample, and others: each optional variable is absent, or all are, and lists have one item or ten."""
        return (self.sample, *variants(self.event_type, self.registrations))

    @cached_property
    def possible(self) -> frozenset[str]:
        """The variables that such an event may have."""
        return frozenset(self.registrations.possible(self.event_type))

    @cached_property
    def given(self) -> frozenset[str]:
        """The variables that its data has: GPFS passes those of a whole family, null where they never apply."""
        return frozenset(self.registrations.variables(self.event_type))

    @cached_property
    def is_registered(self) -> bool:
        """Whether a callback passes such events."""
        return self.registrations.is_registered(self.event_type)


class Samples:
    """Keeps each event type with its samples, so that each is made once."""

    def __init__(self, registrations: Registrations) -> None:
        """Make samples with the variables that *registrations* pass."""
        self.registrations = registrations
        self._made: dict[str, Kind] = {}

    def of(self, event_type: EventType) -> Kind:
        """Return *event_type* with its samples."""
        return self._made.setdefault(event_type.type, Kind(event_type, self.registrations))


@dataclass(frozen=True)
class Kinds:
    """The event types that a subscription selects, by `type`."""

    registrations: Registrations
    kinds: Mapping[str, Kind] = field(default_factory=dict)

    @classmethod
    def of(cls, types: Iterable[EventType], samples: Samples) -> Kinds:
        """Return the kinds of *types*."""
        return cls(samples.registrations, {each.type: samples.of(each) for each in types})

    @property
    def catalogues(self) -> Catalogues:
        """The catalogues that they are from."""
        return self.registrations.catalogues

    def those(self, keeps: Callable[[Kind], bool]) -> Kinds:
        """Return only the kinds that *keeps* returns true for."""
        return Kinds(self.registrations, {name: each for name, each in self.kinds.items() if keeps(each)})

    def passed(self, name: str) -> frozenset[str] | None:
        """Return the variables in the data of the event type *name*, or None if no registration passes such events."""
        return self.kinds[name].given if self.kinds[name].is_registered else None

    def all_unknown(self, variables: Iterable[str], about: Iterable[str]) -> list[str]:
        """Return what is wrong with *variables* that no selected event type has, and with what no alert is *about*."""
        if found := [wrong for name in variables if (wrong := self.unknown(name))]:
            return found
        everywhere = {each for catalogue in self.catalogues.values() for each in catalogue.variables}
        everywhere |= {*Event.model_fields}
        return [f"no alert is about {name}{did_you_mean(name, everywhere)}" for name in about if name not in everywhere]

    def lacking(self, variable: str) -> list[str]:
        """Return the selected event types that cannot have *variable*."""
        return [name for name, each in self.kinds.items() if variable not in each.possible and variable != EXTRA]

    def unpassed(self, variable: str) -> list[str]:
        """Return the selected event types that can have *variable*, but whose registration does not pass it."""
        return [name for name, each in self.kinds.items() if variable in each.possible - each.given]

    def remedy(self, names: Iterable[str], variable: str) -> str:
        """Return the setting that makes the registrations of the event types *names* pass *variable*."""
        return self.registrations.remedy([self.kinds[each].event_type for each in names], variable)

    def unknown(self, variable: str) -> str:
        """Return what is wrong with *variable* where no selected event type has it, otherwise an empty text."""
        if not self.kinds or len(self.lacking(variable)) < len(self.kinds):
            return ""
        theirs = {name for each in self.kinds.values() for name in each.possible}
        everywhere = {name for each in self.catalogues.values() for name in each.variables}
        if variable in everywhere:
            return f"{named(self.kinds)} cannot have data.{variable}"
        if variable in Event.model_fields:
            return f"no variable data.{variable}: write {variable}, which every event has"
        return f"no variable data.{variable}{did_you_mean(variable, theirs) or did_you_mean(variable, everywhere)}"


def named(types: Iterable[str]) -> str:
    """Return the names of event *types* for a message: the first three, and the number of the others."""
    names = [each.partition(".")[2] for each in types]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
