"""The cluster as objects: nodes, file systems and callbacks, each with `.onEvent`.

Every access reads the current values with `-Y`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from router.cluster.gpfs.cluster_nodes import Member
from router.cluster.gpfs.errors import NotUnderstood
from router.model.catalogue import EventType

from .collections import Callbacks, Collection, Handlers, WithEvents
from .errors import NotThere
from .file_systems.file_system import Filesystems
from .site import site
from .this_node import node as _node


class Cluster(WithEvents):
    """The cluster of this machine; its properties are the values of mmlscluster."""

    @property
    def name(self) -> str:
        """The name of the cluster."""
        return self.properties["clusterName"]

    @property
    def id(self) -> str:
        """The id of the cluster."""
        return self.properties["clusterId"]

    @property
    def properties(self) -> Mapping[str, str]:
        """The values of mmlscluster for the whole cluster."""
        found = site().commands.table("mmlscluster", "-Y", section="clusterSummary")
        if not found:
            raise NotUnderstood("mmlscluster -Y has no section clusterSummary: configure GPFS on this machine")
        return found[0].values

    def _more(self) -> Mapping[str, str]:
        return self.properties

    @property
    def nodes(self) -> Nodes:
        """The nodes of the cluster."""
        return Nodes()

    @property
    def filesystems(self) -> Filesystems:
        """The file systems of the cluster."""
        return Filesystems()

    @property
    def callbacks(self) -> Callbacks:
        """All callbacks of the cluster."""
        return Callbacks()

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class Node(WithEvents):
    """A node, found by a name or address; `localhost` is this node.  Raises NotThere, and SeveralThere."""

    def __init__(self, name: str) -> None:
        """Look up *name* in the node list of the cluster."""
        self._member = _node(site(), name)

    @classmethod
    def _of(cls, member: Member) -> Node:
        made = cls.__new__(cls)
        made._member = member  # noqa: SLF001 - an object of this class
        return made

    @property
    def name(self) -> str:
        """The short name of the node, as in events."""
        return self._member.name

    node_name = name
    """The name in the node list of a callback."""

    @property
    def properties(self) -> Mapping[str, str]:
        """The values of mmlscluster for the node."""
        for row in site().commands.table("mmlscluster", "-Y", section="clusterNode"):
            if row.values.get("adminNodeName") == self._member.admin_name:
                return row.values
        raise NotThere("node", self.name)

    def _more(self) -> Mapping[str, str]:
        return self.properties

    def _handlers(self, event: EventType) -> Handlers:
        return Handlers(event, node_name=self.name)

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class Nodes(Collection[Node]):
    """The nodes of the cluster, by any of their names."""

    what = "node"

    def _found(self) -> dict[str, Node]:
        every = site().members()
        times = Counter(each.name for each in every)
        # A short name that several nodes have stands for none of them.
        names = (each.name if times[each.name] == 1 else each.admin_name for each in every)
        return {name: Node._of(each) for name, each in zip(names, every, strict=True)}  # noqa: SLF001 - of this module

    def __getitem__(self, name: str) -> Node:
        """Return the node of that name or address."""
        return Node(name)
