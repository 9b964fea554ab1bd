"""Collections as the seed's API has them: walked, counted, asked by identifier, printed with commas between."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from router.catalogue import EventType
from router.sources.gpfs.plans import is_ours

from .callback import Callback, all_of
from .errors import NotThere
from .here import node
from .site import site

Thing = TypeVar("Thing")


class Collection(Generic[Thing]):
    """Things by their names; each look is at what is there then."""

    what = "thing"

    @abstractmethod
    def _found(self) -> dict[str, Thing]:
        """Return what is there now."""

    def keys(self) -> list[str]:
        """Return the names."""
        return list(self._found())

    def values(self) -> list[Thing]:
        """Return the things."""
        return list(self._found().values())

    def items(self) -> list[tuple[str, Thing]]:
        """Return names and things."""
        return list(self._found().items())

    def __iter__(self) -> Iterator[Thing]:
        """Yield the things."""
        return iter(self.values())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._found())

    def __contains__(self, wanted: object) -> bool:
        """Say whether there is one of that name, or that thing."""
        return str(wanted) in self._found()

    def __getitem__(self, name: str) -> Thing:
        """Return the one of that name.  Raises NotThere, which is a KeyError too."""
        there = self._found()
        if name not in there:
            raise NotThere(self.what, name, there)
        return there[name]

    def __str__(self) -> str:
        """Return the names, with commas between."""
        return ",".join(self._found())


class Callbacks(Collection[Callback]):
    """All callbacks of the cluster, but for those of `clusterbus callbacks`."""

    what = "callback"

    def _found(self) -> dict[str, Callback]:
        return {each.id: each for each in all_of(site()) if not is_ours(each.id)}

    def new(self, *positional: Any, **keywords: Any) -> Callback:  # noqa: ANN401 - as Callback has them
        """Make a callback as `Callback` does, install it, and return it."""
        made = Callback(*positional, **keywords)
        made.create()
        return made

    def destroy(self, callback: Callback | str) -> None:
        """Take a callback away, by itself or by its identifier."""
        self[str(callback)].delete()


class Handlers(Collection[Callback]):
    """The callbacks of one event: everywhere, on one node, or of one file system."""

    what = "callback"

    def __init__(self, event: EventType, node_name: str = "", file_system: str = "") -> None:
        """Hold those of *event*; on the node, or of the file system, where one is named."""
        self._event, self._node, self._file_system = event, node_name, file_system

    def _found(self) -> dict[str, Callback]:
        own = node(site(), self._node).names if self._node else frozenset()
        return {
            each.id: each
            for each in all_of(site())
            if self._event.name in each.events
            and not is_ours(each.id)
            and (not self._node or any(name.lower() in own for name in each.nodes))
            and (not self._file_system or each.filesystem == self._file_system)
        }

    def new(
        self,
        handler: Any = None,  # noqa: ANN401 - a path or a function
        callbackId: str | None = None,  # noqa: N803 - the seed's API
        params: Any = None,  # noqa: ANN401 - one text, or several
        **keywords: Any,  # noqa: ANN401 - as Callback has them
    ) -> Callback:
        """Install *handler*, a function or the path of a program, and return its callback.

        Where no identifier is given it is made from what it does, so that the same call comes to the same one.
        """
        fields = {"command": handler, "callbackId": callbackId, "params": params}
        keywords |= {name: value for name, value in fields.items() if value is not None}
        made = Callback._scoped(self._event.name, self._node, self._file_system, keywords)  # noqa: SLF001 - our own
        made.create()
        return made

    def destroy(self, callback: Callback | str) -> None:
        """Take a callback away, by itself or by its identifier."""
        self[str(callback)].delete()
