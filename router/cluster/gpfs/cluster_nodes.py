"""The nodes of the cluster, as mmlscluster lists them, and which of them an `-N` list selects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...model.node_words import label_of, word_of
from .commands import Commands
from .errors import NotUnderstood
from .node_roles import designated
from .tables import table

_ROW = "clusterNode"


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster.  *name* is the word of its admin name."""

    name: str
    daemon_name: str
    admin_name: str
    address: str
    quorum: bool
    manager: bool

    @property
    def names(self) -> frozenset[str]:
        """All names of the node, in lower case."""
        full = {self.daemon_name.lower(), self.admin_name.lower()}
        return frozenset({*full, *map(label_of, full), self.address, self.name})


_CLASSES: Mapping[str, Callable[[Member], bool]] = {
    "all": lambda _: True,
    "quorumnodes": lambda node: node.quorum,
    "nonquorumnodes": lambda node: not node.quorum,
    "managernodes": lambda node: node.manager,
    "clientnodes": lambda node: not node.manager,
}


def members(commands: Commands) -> tuple[Member, ...]:
    """Return the nodes of the cluster.  Raises CommandFailed, CommandMissing and NotUnderstood."""
    columns = "adminNodeName", "daemonNodeName", "designation"
    try:
        listed = table(commands.read("mmlscluster", "-Y"), _ROW, *columns)
    except NotUnderstood as error:
        raise NotUnderstood(f"mmlscluster -Y: {error}: check that GPFS is set up here") from error
    found = tuple(
        Member(
            name=word_of(row.values["adminNodeName"]),
            daemon_name=row.values["daemonNodeName"],
            admin_name=row.values["adminNodeName"],
            address=row.values.get("ipAddress", ""),
            quorum="quorum" in designated(row),
            manager="manager" in designated(row),
        )
        for row in listed
    )
    if not found:
        raise NotUnderstood(f"mmlscluster -Y lists no node in its section {_ROW}: check that GPFS is set up here")
    return found


def covered(cluster: Sequence[Member], nodes: Iterable[str]) -> frozenset[str] | None:
    """Return the names of the nodes that an `-N` list selects, or None if it names a node class of the site.

    An empty list selects all nodes.

    >>> one = Member("nsd01", "nsd01.example", "nsd01.example", "10.0.0.1", quorum=True, manager=True)
    >>> covered([one], ["quorumNodes"])
    frozenset({'nsd01'})
    """
    wanted = [each.lower() for each in nodes] or ["all"]
    found: set[str] = set()
    for word in wanted:
        in_class = _CLASSES.get(word)
        selected = [each.name for each in cluster if (in_class(each) if in_class else word in each.names)]
        if not selected and in_class is None:
            return None
        found.update(selected)
    return frozenset(found)


def same_nodes(cluster: Sequence[Member], one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether two `-N` lists select the same nodes.  An empty list and `all` include nodes added later.

    It is not known how GPFS stores a class, nor by which of its names a node appears in the list.

    >>> same_nodes([], [], ["ALL"]), same_nodes([], ["siteNodes"], [])
    (True, False)
    """
    everywhere = [not each or "all" in (name.lower() for name in each) for each in (one, other)]
    if any(everywhere):
        return all(everywhere)
    sets = covered(cluster, one), covered(cluster, other)
    return set(one) == set(other) or (None not in sets and sets[0] == sets[1])
