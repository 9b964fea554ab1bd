"""The snapshots of a file system or of a fileset."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..collections import Collection
from ..errors import CallbackError, as_operand
from ..site import site
from .listings import listed

_NAME = re.compile(r"[A-Za-z0-9@_][A-Za-z0-9@_.+-]{0,254}")
_WHOLE = ("", "global", "-", "(undefined)")
"""Values of the fileset of a snapshot of a whole file system; which of them a release prints is not documented."""


class Snapshot:
    """A snapshot of *file_system* or of one of its filesets; *properties* are the values of mmlssnapshot."""

    def __init__(self, file_system: str, name: str, properties: Mapping[str, str]) -> None:
        """Keep the names and *properties*."""
        self.filesystem, self.name, self.properties = file_system, name, dict(properties)

    @property
    def fileset(self) -> str:
        """The fileset of the snapshot, empty for a whole file system."""
        found = self.properties.get("fileset", "")
        return "" if found in _WHOLE else found

    def delete(self) -> None:
        """Delete the snapshot.  Raises CallbackError for a wrong name, and CommandFailed."""
        of_fileset = ["-j", as_operand("fileset", self.fileset)] if self.fileset else []
        words = (as_operand("file system", self.filesystem), as_operand("snapshot", self.name))
        site().commands.change("mmdelsnapshot", *words, *of_fileset)

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    def __repr__(self) -> str:
        """Return a description of the snapshot."""
        return f"Snapshot({self.filesystem!r}, {self.name!r})"


class Snapshots(Collection[Snapshot]):
    """The snapshots of one file system, or of one fileset.

    Among those of a file system, a snapshot of a fileset has the name `fileset:name`.
    """

    what = "snapshot"

    def __init__(self, file_system: str, fileset: str = "") -> None:
        """Use the snapshots of *file_system*, or only those of its *fileset*."""
        self._file_system, self._fileset = file_system, fileset

    def _found(self) -> dict[str, Snapshot]:
        made = [
            Snapshot(self._file_system, row.values["directory"], row.values)
            for row in listed("mmlssnapshot", self._file_system, "-Y", columns=("directory",), empty="no snapshots")
        ]
        if self._fileset:
            return {each.name: each for each in made if each.fileset == self._fileset}
        return {f"{each.fileset}:{each.name}" if each.fileset else each.name: each for each in made}

    def new(self, name: str) -> Snapshot:
        """Create a snapshot and return it.  Raises CallbackError for a wrong name, and CommandFailed."""
        if not _NAME.fullmatch(name):
            raise CallbackError(f"{name!r:.80} cannot name a snapshot: use letters, digits, and @ _ - . + inside")
        of_fileset = ["-j", self._fileset] if self._fileset else []
        site().commands.change("mmcrsnapshot", self._file_system, name, *of_fileset)
        return Snapshot(self._file_system, name, {"fileset": self._fileset})

    def destroy(self, snapshot: Snapshot | str) -> None:
        """Delete a snapshot, given as an object or a name.  Raises NotThere and CommandFailed."""
        (self[snapshot] if isinstance(snapshot, str) else snapshot).delete()
