"""The file systems of the cluster, each with `.onEvent`."""

from __future__ import annotations

from collections.abc import Mapping

from router.model.catalogue import EventType

from ..collections import Collection, Handlers, WithEvents
from ..errors import CallbackError, NotThere, as_operand
from ..site import site
from .disks import Disks
from .filesets import Filesets
from .listings import listed
from .snapshots import Snapshots


class Filesystem(WithEvents):
    """A file system, named by its device; its properties are the values of mmlsfs."""

    _lacks = "fsName, so no file system has it"

    def __init__(self, name: str) -> None:
        """Use the device *name*, which is looked up when a property is read.  Raises CallbackError if it is none."""
        self._name = as_operand("file system", name).removeprefix("/dev/")

    @property
    def name(self) -> str:
        """The device, as in `fsName` of events."""
        return self._name

    @property
    def properties(self) -> Mapping[str, str]:
        """The values of mmlsfs for the file system."""
        found = _file_systems()
        if self._name not in found:
            raise NotThere("file system", self._name, found)
        return found[self._name]

    @property
    def filesets(self) -> Filesets:
        """The filesets of the file system."""
        return Filesets(self._name)

    @property
    def disks(self) -> Disks:
        """The disks of the file system."""
        return Disks(self._name)

    @property
    def snapshots(self) -> Snapshots:
        """The snapshots of the file system."""
        return Snapshots(self._name)

    def _types(self) -> Mapping[str, EventType]:
        return {name: each for name, each in site().catalogue.events.items() if "fsName" in each.variables}

    def _more(self) -> Mapping[str, str]:
        return self.properties

    def _handlers(self, event: EventType) -> Handlers:
        # Check that the file system exists: a wrong name would never match an event.
        _ = self.properties
        return Handlers(event, file_system=self._name)

    def change(self, **_: object) -> None:
        """Raise CallbackError: this module cannot change file systems."""
        raise CallbackError(f"{self._name}: this module cannot change file systems; use mmchfs")

    def __str__(self) -> str:
        """Return the device."""
        return self._name


class Filesystems(Collection[Filesystem]):
    """The file systems of the cluster."""

    what = "file system"

    def _found(self) -> dict[str, Filesystem]:
        return {name: Filesystem(name) for name in _file_systems()}


def _file_systems() -> dict[str, dict[str, str]]:
    columns = ("deviceName", "fieldName", "data")
    found: dict[str, dict[str, str]] = {}
    for row in listed("mmlsfs", "all", "-Y", columns=columns, empty="no file systems"):
        own = found.setdefault(row.values["deviceName"], {})
        own.setdefault(row.values["fieldName"], row.values["data"])
    return found
