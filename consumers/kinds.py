"""What a subscription may meet: the event types that it selects, with a sample of each as it may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from router.catalogue import Catalogues, EventType
from router.events import Event

from .errors import did_you_mean
from .files import Place

EXTRA = "arguments"
"""Arguments that belong to no variable; any event may have them."""

_SHOWN = 3
"""Event types that a message names."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said of a place in an entry; a *warning* is what may not have been meant."""

    place: Place
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Kinds:
    """The event types that a subscription selects, with a sample of each, by `type`."""

    catalogues: Catalogues
    samples: Mapping[str, Event]

    @classmethod
    def of(cls, types: Iterable[EventType], catalogues: Catalogues) -> Kinds:
        """Return the kinds of *types*."""
        return cls(catalogues, {each.type: sample(each, catalogues) for each in types})

    def lacking(self, variable: str) -> list[str]:
        """Return the selected event types that cannot have *variable*."""
        return [each for each, sample in self.samples.items() if variable not in sample.data and variable != EXTRA]

    def unknown(self, variable: str) -> str:
        """Return what is wrong with *variable* where no selected event type has it, else nothing."""
        if not self.samples or len(self.lacking(variable)) < len(self.samples):
            return ""
        theirs = {name for sample in self.samples.values() for name in sample.data}
        everywhere = {name for each in self.catalogues.values() for name in each.variables}
        if variable in everywhere:
            return f"{named(self.samples)} cannot have data.{variable}"
        return f"no variable data.{variable}{did_you_mean(variable, theirs) or did_you_mean(variable, everywhere)}"


def sample(event_type: EventType, catalogues: Catalogues) -> Event:
    """Return an event of *event_type* as it may be, in the cluster `sample`."""
    data = catalogues.sample(event_type)
    about = "/".join(str(data[name]) for name in event_type.subject if name in data)
    return Event(
        id="00000000000000000000000000",
        type=event_type.type,
        source=f"/{event_type.source}/sample/node1",
        subject=about or None,
        time="2026-01-01T00:00:00.000000000Z",
        cluster="sample",
        node="node1",
        category=event_type.category,
        severity=event_type.severity,
        scope=event_type.scope,
        sequence="000000000001",
        epoch="00000000000000000000000000",
        data=data,
    )


def named(types: Iterable[str]) -> str:
    """Return the names of event *types* for people, the first of many."""
    names = [each.partition(".")[2] for each in types]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
