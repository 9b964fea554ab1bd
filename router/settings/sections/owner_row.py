"""Who is responsible for what: rows that map file systems, filesets, nodes, node classes and clusters to contacts."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ..field_types import ONE_OR_SEVERAL
from .section import Section


def _device(name: str) -> str:
    """Return the file system *name* as events have it.

    >>> _device("/dev/gpfs1"), _device("gpfs1")
    ('gpfs1', 'gpfs1')
    """
    return name.removeprefix("/dev/")


_Name = Annotated[str, Field(min_length=1, max_length=255)]
_Names = Annotated[tuple[_Name, ...], ONE_OR_SEVERAL]
_FileSystems = Annotated[tuple[Annotated[_Name, AfterValidator(_device)], ...], ONE_OR_SEVERAL]


class OwnerRow(Section):
    """One row: the contact for what matches all that it names.  A row that names nothing is for the rest."""

    to: Annotated[str, Field(min_length=1, max_length=63)]
    """A contact of `consumers.contacts`."""
    fileset: _Names = ()
    """Filesets, of any file system unless the row names some."""
    file_system: _FileSystems = ()
    """File systems; /dev/ before the name is left out."""
    nodes: _Names = ()
    """Nodes, such as `nsd[01-04]`."""
    node_class: _Names = ()
    """Node classes of the cluster, whose members are read from the facts."""
    cluster: _Names = ()
    """Clusters, as named in events."""

    @property
    def is_for_all(self) -> bool:
        """Whether it names nothing, so that nobody's event is left."""
        return not (self.fileset or self.file_system or self.nodes or self.node_class or self.cluster)
