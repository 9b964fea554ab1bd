"""Who is responsible for what: rows that map file systems, filesets, nodes, node classes and clusters to contacts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..field_types import ONE_OR_SEVERAL
from .section import Section

_Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=255)], ...], ONE_OR_SEVERAL]


class OwnerRow(Section):
    """One row: the contact for what matches all that it names.  A row that names nothing is for the rest."""

    to: Annotated[str, Field(min_length=1, max_length=63)]
    """A contact of `consumers.contacts`."""
    fileset: _Names = ()
    """Filesets, of any file system unless the row names some."""
    file_system: _Names = ()
    """File systems, without /dev/."""
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
