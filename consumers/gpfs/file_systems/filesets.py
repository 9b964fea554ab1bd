"""The filesets of a file system, each with `.onEvent`."""

from __future__ import annotations

from collections.abc import Mapping

from router.model.catalogue import EventType

from ..collections import Collection, Handlers, WithEvents
from ..errors import NotThere, as_operand
from ..site import site
from .listings import listed
from .snapshots import Snapshots


class Fileset(WithEvents):
    """A fileset of a file system; its properties are the values of mmlsfileset, such as `.path` and `.status`."""

    _lacks = "filesetName, so no fileset has it"

    def __init__(self, file_system: object, name: str) -> None:
        """Use the fileset *name* of *file_system*, which is looked up when a property is read.

        Raises CallbackError if one of the two is no name.
        """
        self._file_system = as_operand("file system", str(file_system)).removeprefix("/dev/")
        self._name = as_operand("fileset", name)

    @property
    def name(self) -> str:
        """The name, as in `filesetName` of events."""
        return self._name

    @property
    def filesystem(self) -> str:
        """The device of the file system."""
        return self._file_system

    @property
    def properties(self) -> Mapping[str, str]:
        """The values of mmlsfileset for the fileset."""
        found = rows_of(self._file_system)
        if self._name not in found:
            raise NotThere("fileset", self._name, found)
        return found[self._name]

    @property
    def snapshots(self) -> Snapshots:
        """The snapshots of the fileset."""
        return Snapshots(self._file_system, self._name)

    def _types(self) -> Mapping[str, EventType]:
        events = site().catalogue.events.items()
        return {name: each for name, each in events if {"fsName", "filesetName"} <= {*each.variables}}

    def _more(self) -> Mapping[str, str]:
        return self.properties

    def _handlers(self, event: EventType) -> Handlers:
        # Check that the fileset exists: a wrong name would never match an event.
        _ = self.properties
        return Handlers(event, file_system=self._file_system, fileset=self._name)

    def __str__(self) -> str:
        """Return the name."""
        return self._name

    def __repr__(self) -> str:
        """Return a description of the fileset."""
        return f"Fileset({self._file_system!r}, {self._name!r})"


class Filesets(Collection[Fileset]):
    """The filesets of one file system."""

    what = "fileset"

    def __init__(self, file_system: str) -> None:
        """Use the filesets of *file_system*."""
        self._file_system = file_system

    def _found(self) -> dict[str, Fileset]:
        return {name: Fileset(self._file_system, name) for name in rows_of(self._file_system)}


def rows_of(file_system: str) -> dict[str, Mapping[str, str]]:
    """Return the values of mmlsfileset for each fileset of *file_system*, by name."""
    found = listed("mmlsfileset", file_system, "-Y", columns=("filesetName",), empty="no filesets")
    return {each.values["filesetName"]: each.values for each in found}
