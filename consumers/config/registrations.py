"""What the callbacks that this site registers pass with each event, by its settings and by what its sources refused.

Those of GPFS pass the variables that `gpfs` in the settings names.  Those of Qube, and clusterbus itself, pass all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from router.cluster.callbacks.gpfs import risks
from router.cluster.callbacks.gpfs.refusals import Memory, Remembered
from router.cluster.callbacks.gpfs.wanted import registrations
from router.cluster.callbacks.qube.triggers import wanted_triggers
from router.errors import SettingsError, StateError
from router.model.catalogue import EVENT_NAME, Catalogues, EventType
from router.settings.models import GpfsSettings, QubeSettings, Settings

_GPFS, _QUBE = "gpfs", "qube"
_APPLY = {_GPFS: "clusterbus callbacks apply", _QUBE: "clusterbus callbacks --source qube apply"}


class Registrations:
    """The callbacks that the settings ask for, without those that GPFS refused; callbacks of others are not known."""

    def __init__(
        self, catalogues: Catalogues, settings: Settings | None = None, remembered: Remembered | None = None
    ) -> None:
        """Use *settings*, by default those of the program, and what was *remembered* of GPFS."""
        self.catalogues = catalogues
        self._settings = settings or Settings()
        self._remembered = remembered or Remembered()
        self._gpfs = catalogues.of(_GPFS)
        self.mistakes: dict[str, str] = {}
        """What is wrong in sections of the settings that say what to register: then the defaults are taken."""
        self._wanted = self._valid()
        self._of_qube = self._triggers()

    @classmethod
    def of_site(cls, catalogues: Catalogues, settings: Settings) -> Registrations:
        """Return those of *settings*, with what is remembered on this machine, if it can be read."""
        try:
            return cls(catalogues, settings, Memory(settings.gpfs.memory).read())
        except StateError:
            return cls(catalogues, settings)

    def _valid(self) -> GpfsSettings:
        """Return the settings of GPFS, or the defaults if there is a mistake in them."""
        try:
            registrations(self._gpfs, self._settings.gpfs)
        except SettingsError as error:
            self.mistakes[_GPFS] = str(error)
            return GpfsSettings()
        return self._settings.gpfs

    @cached_property
    def _parms(self) -> Mapping[str, str]:
        """The parameters that each registered event of GPFS comes with."""
        known = (self._gpfs.get(each) for names in self._remembered.asked.values() for each in names)
        wanted = registrations(self._gpfs, self._wanted, [each.name for each in known if each])
        parts = (part for each in wanted for part in self._remembered.parts(each))
        return {event: part.parms for part in parts for event in part.events if event not in self._remembered.lacking}

    def _triggers(self) -> frozenset[str]:
        """Return the events that callbacks of Qube pass; with a mistake in its settings, those of the defaults."""
        catalogue = self.catalogues.of(_QUBE)
        try:
            triggers = wanted_triggers(self._settings.qube, catalogue)
        except SettingsError as error:
            self.mistakes[_QUBE] = str(error)
            triggers = wanted_triggers(QubeSettings(), catalogue)
        return frozenset(each.event for each in triggers)

    def is_registered(self, event_type: EventType) -> bool:
        """Return whether a callback passes events of this type; clusterbus needs none for its own."""
        match event_type.source:
            case "gpfs":
                return event_type.name in self._parms
            case "qube":
                return event_type.name in self._of_qube
            case _:
                return True

    def variables(self, event_type: EventType) -> tuple[str, ...]:
        """Return the variables in the data of such an event, in their order; unregistered, as if it were registered."""
        if event_type.source != _GPFS:
            return tuple(each.name for each in self.catalogues.of(event_type.source).of(event_type))
        parms = self._parms.get(event_type.name) or self._alone(event_type)
        return (EVENT_NAME, *(each[1:] for each in parms.split()[1:] if each.startswith("%")))

    def possible(self, event_type: EventType) -> tuple[str, ...]:
        """Return the variables that such an event may have: by the catalogue, and named for it in `gpfs.parameters`."""
        catalogue = self.catalogues.of(event_type.source)
        return tuple(dict.fromkeys((*(each.name for each in catalogue.of(event_type)), *self._more(event_type))))

    def optional(self, event_type: EventType) -> tuple[str, ...]:
        """Return those of them that may not apply to a single event."""
        return tuple(
            dict.fromkeys((*self.catalogues.of(event_type.source).optional_of(event_type), *self._more(event_type)))
        )

    def why_unregistered(self, event_type: EventType) -> str:
        """Return why no callback passes such events, and the setting that registers them; empty if one does."""
        name, source = event_type.name, event_type.source
        if self.is_registered(event_type):
            return ""
        if source == _GPFS and (refused := self._remembered.lacking.get(name)):
            return f"this GPFS release refuses to register {name}: {refused}"
        danger = risks.of_event(event_type) if source == _GPFS else None
        accept = f" and to gpfs.accept, because {danger}" if danger else ""
        return f"{name} is not registered: add it to {source}.events{accept}; then run `{_APPLY[source]}`"

    def why_none(self, event_types: Sequence[EventType]) -> str:
        """Return why no callback passes any of *event_types*, and the setting; empty if one does, or there are none."""
        if not event_types or any(map(self.is_registered, event_types)):
            return ""
        others = f"; the same holds for {len(event_types) - 1} others that are selected" if len(event_types) > 1 else ""
        return f"no such event comes: {self.why_unregistered(event_types[0])}{others}"

    def remedy(self, event_types: Sequence[EventType], variable: str) -> str:
        """Return the setting that makes the registrations of *event_types*, all of GPFS, pass *variable*."""
        if variable.lower() in {each[1:].lower() for each in self._wanted.without if each.startswith("%")}:
            setting = f"remove %{variable} from gpfs.without"
        else:
            families = dict.fromkeys(each.category for each in event_types)
            setting = f"add {variable} to {' and '.join(f'gpfs.parameters.{each}' for each in families)}"
        return f"{setting}, and run `{_APPLY[_GPFS]}`"

    def _more(self, event_type: EventType) -> list[str]:
        """Return the variables that the settings name for this type although the catalogue does not."""
        if event_type.source != _GPFS:
            return []
        theirs = {each.name for each in self._gpfs.of(event_type)}
        words = self._wanted.parameters.get(event_type.category, ())
        return [found.name for each in words if (found := self._gpfs.variable(each)) and found.name not in theirs]

    def _alone(self, event_type: EventType) -> str:
        """Return the parameters of a callback for this type only."""
        name = event_type.name
        without = tuple(each for each in self._wanted.without if each.startswith("%"))
        only = self._wanted.model_copy(
            update={"events": (name,), "without": without, "accept": (*self._wanted.accept, name)}
        )
        (found,) = registrations(self._gpfs, only)
        return found.parms
