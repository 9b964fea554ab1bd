"""Collections with the interface of the ArcaPix API: iterate, count, look up by name, print as a list."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from router.cluster.callbacks.gpfs.plan import is_ours
from router.errors import did_you_mean
from router.model.catalogue import EventType

from .callback import Callback, all_of
from .errors import NotThere
from .site import site
from .this_node import node

Thing = TypeVar("Thing")
_ON = "on"


class Collection(Generic[Thing]):
    """Objects by name; each access reads the current state."""

    what = "object"

    @abstractmethod
    def _found(self) -> dict[str, Thing]:
        """Return the current objects by name."""

    def keys(self) -> list[str]:
        """Return the names."""
        return list(self._found())

    def values(self) -> list[Thing]:
        """Return the objects."""
        return list(self._found().values())

    def items(self) -> list[tuple[str, Thing]]:
        """Return names and objects."""
        return list(self._found().items())

    def __iter__(self) -> Iterator[Thing]:
        """Yield the objects."""
        return iter(self.values())

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self._found())

    def __contains__(self, wanted: object) -> bool:
        """Return whether `[...]` finds an object with the name of *wanted*."""
        try:
            self[str(wanted)]
        except NotThere:
            return False
        return True

    def __getitem__(self, name: str) -> Thing:
        """Return the object *name*.  Raises NotThere, which is also a KeyError."""
        there = self._found()
        if name not in there:
            raise NotThere(self.what, name, there)
        return there[name]

    def __str__(self) -> str:
        """Return the names, separated by commas."""
        return ",".join(self._found())


class _OfCallbacks(Collection[Callback]):
    what = "callback"

    def destroy(self, callback: Callback | str) -> None:
        """Delete a callback, given as an object or an identifier."""
        self[str(callback)].delete()


class Callbacks(_OfCallbacks):
    """All callbacks of the cluster, except those of `clusterbus callbacks`."""

    def _found(self) -> dict[str, Callback]:
        return {each.id: each for each in all_of(site()) if not is_ours(each.id)}

    def new(self, *positional: Any, **keywords: Any) -> Callback:  # noqa: ANN401 - as in Callback
        """Create a callback with the arguments of `Callback`, install it, and return it."""
        made = Callback(*positional, **keywords)
        made.create()
        return made


class Handlers(_OfCallbacks):
    """The callbacks of one event: everywhere, on one node, or of one file system or fileset."""

    def __init__(self, event: EventType, node_name: str = "", file_system: str = "", fileset: str = "") -> None:
        """Use the callbacks of *event*, on one node, or of one file system or one *fileset* of it, if named."""
        self._event, self._node, self._file_system, self._fileset = event, node_name, file_system, fileset

    def _found(self) -> dict[str, Callback]:
        own = node(site(), self._node).names if self._node else frozenset()
        return {
            each.id: each
            for each in all_of(site())
            if self._event.name in each.events
            and not is_ours(each.id)
            and (not self._node or any(name.lower() in own for name in each.nodes))
            and (not self._file_system or each.filesystem == self._file_system)
            and (not self._fileset or each.fileset == self._fileset)
        }

    def new(
        self,
        handler: Any = None,  # noqa: ANN401 - a path or a function
        callbackId: str | None = None,  # noqa: N803 - the ArcaPix API
        params: Any = None,  # noqa: ANN401 - one text, or several
        **keywords: Any,  # noqa: ANN401 - as in Callback
    ) -> Callback:
        """Install *handler*, a function or the path of a program, and return its callback.

        Without an identifier, one is derived from the definition, so that the same call gives the same identifier.
        """
        fields = {"command": handler, "callbackId": callbackId, "params": params}
        keywords |= {name: value for name, value in fields.items() if value is not None}
        scope = {"node": self._node, "file_system": self._file_system, "fileset": self._fileset}
        made = Callback._scoped(self._event.name, keywords, **scope)  # noqa: SLF001 - of this package
        made.create()
        return made


class WithEvents:
    """An object with events: `.onMount` is the collection of callbacks of `mount`, in upper or lower case.

    *_lacks* says why an event of the catalogue may be missing.
    """

    _lacks = "such callbacks"

    def _types(self) -> Mapping[str, EventType]:
        return site().catalogue.events

    def _handlers(self, event: EventType) -> Handlers:
        return Handlers(event)

    def _more(self) -> Mapping[str, str]:
        """Return the properties by name."""
        return {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a collection, or a text
        """Return the callbacks of an event, or a property.  Raises AttributeError."""
        if name.startswith("_"):
            raise AttributeError(name)
        event = site().catalogue.get(name[len(_ON) :]) if name[:2].lower() == _ON else None
        if event is not None:
            if event.name not in self._types():
                raise AttributeError(f"{event.name} has no {self._lacks}: use Cluster().{name}")
            return self._handlers(event)
        more = self._more()
        if name in more:
            return more[name]
        known = [*more, *self._names_of_events()]
        raise AttributeError(f"{type(self).__name__} has no {name}{did_you_mean(name, known)}")

    def _names_of_events(self) -> list[str]:
        return [f"{_ON}{each[:1].upper()}{each[1:]}" for each in self._types()]

    def __dir__(self) -> list[str]:
        """Return all names, for completion."""
        return [*super().__dir__(), *self._names_of_events()]
