"""The event types that a subscription selects, with samples of each as they come to this site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from router.errors import did_you_mean
from router.model.catalogue import Catalogues, EventType
from router.model.events import Event
from router.settings.yaml_documents import Place

from .registrations import Registrations
from .synthetic_events import variants

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


@dataclass(frozen=True, slots=True)
class Kind:
    """An event type as it comes to this site.

    `variants` are samples, made as the router makes events: first one with all variables that the registrations of
    this site pass, then with each optional one absent, with all of them absent, and with one item or ten in each
    list.  `possible` are the variables that such an event may have, `given` those that its data has: GPFS passes the
    variables of a whole family, and those that never apply to this type are always null.
    """

    event_type: EventType
    variants: tuple[Event, ...]
    possible: frozenset[str]
    given: frozenset[str]
    is_registered: bool


class Samples:
    """Makes the samples of each event type once."""

    def __init__(self, registrations: Registrations) -> None:
        """Make samples with the variables that *registrations* pass."""
        self.registrations = registrations
        self._made: dict[str, Kind] = {}

    def of(self, event_type: EventType) -> Kind:
        """Return *event_type* with its samples."""
        if (made := self._made.get(event_type.type)) is None:
            made = self._made[event_type.type] = Kind(
                event_type,
                variants(event_type, self.registrations),
                frozenset(self.registrations.possible(event_type)),
                frozenset(self.registrations.variables(event_type)),
                self.registrations.is_registered(event_type),
            )
        return made


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

    @property
    def variants(self) -> Mapping[str, tuple[Event, ...]]:
        """The samples of each type, the one with all variables first."""
        return {name: each.variants for name, each in self.kinds.items()}

    @property
    def samples(self) -> Mapping[str, Event]:
        """The sample of each type with all variables."""
        return {name: each.variants[0] for name, each in self.kinds.items()}

    def those(self, keeps: Callable[[Kind], bool]) -> Kinds:
        """Return only the kinds that *keeps* returns true for."""
        return Kinds(self.registrations, {name: each for name, each in self.kinds.items() if keeps(each)})

    def passed(self, name: str) -> frozenset[str] | None:
        """Return the variables in the data of the event type *name*, or None if no registration passes such events."""
        return self.kinds[name].given if self.kinds[name].is_registered else None

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
        return f"no variable data.{variable}{did_you_mean(variable, theirs) or did_you_mean(variable, everywhere)}"


def named(types: Iterable[str]) -> str:
    """Return the names of event *types* for a message: the first three, and the number of the others."""
    names = [each.partition(".")[2] for each in types]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
