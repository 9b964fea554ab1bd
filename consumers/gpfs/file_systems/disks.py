"""The disks of a file system."""

from __future__ import annotations

from collections.abc import Mapping

from ..collections import Collection
from .listings import listed


class Disk:
    """A disk of *file_system*; *properties* are the values of mmlsdisk."""

    def __init__(self, file_system: str, properties: Mapping[str, str]) -> None:
        """Keep the *properties*."""
        self.filesystem, self.properties = file_system, dict(properties)

    @property
    def name(self) -> str:
        """The name of the disk (NSD), as in `diskName` of events."""
        return self.properties["nsdName"]

    @property
    def status(self) -> str:
        """The status, such as `ready`."""
        return self.properties["status"]

    @property
    def availability(self) -> str:
        """The availability: `up`, `down`, `recovering`, ..."""
        return self.properties["availability"]

    @property
    def pool(self) -> str:
        """The storage pool."""
        return self.properties.get("storagePool", "")

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    def __repr__(self) -> str:
        """Return a description of the disk."""
        return f"Disk({self.filesystem!r}, {self.name!r})"


class Disks(Collection[Disk]):
    """The disks of one file system."""

    what = "disk"

    def __init__(self, file_system: str) -> None:
        """Use the disks of *file_system*."""
        self._file_system = file_system

    def _found(self) -> dict[str, Disk]:
        columns = ("nsdName", "status", "availability")
        found = listed("mmlsdisk", self._file_system, "-Y", columns=columns, empty="no disks")
        return {each.values["nsdName"]: Disk(self._file_system, each.values) for each in found}
