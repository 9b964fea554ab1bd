"""The nodes of the cluster, as mmlscluster lists them, and whom an `-N` list means.  Pure but for asking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .commands import Commands
from .errors import NotUnderstood

_ROW = "clusterNode"


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster: *name* is the first label of its admin name, in lower case, as the shim names it."""

    name: str
    daemon_name: str
    admin_name: str
    address: str
    quorum: bool
    manager: bool

    @property
    def names(self) -> frozenset[str]:
        """All that it is called, in lower case."""
        full = {self.daemon_name.lower(), self.admin_name.lower()}
        return frozenset({*full, *(each.partition(".")[0] for each in full), self.address, self.name})


_CLASSES: Mapping[str, Callable[[Member], bool]] = {
    "all": lambda _: True,
    "quorumnodes": lambda node: node.quorum,
    "nonquorumnodes": lambda node: not node.quorum,
    "managernodes": lambda node: node.manager,
    "clientnodes": lambda node: not node.manager,
}


def members(commands: Commands) -> tuple[Member, ...]:
    """Return the nodes of the cluster.  Raises CommandFailed, CommandMissing and NotUnderstood."""
    found = tuple(
        Member(
            name=row.values["adminNodeName"].partition(".")[0].lower(),
            daemon_name=row.values["daemonNodeName"],
            admin_name=row.values["adminNodeName"],
            address=row.values.get("ipAddress", ""),
            quorum="quorum" in row.values["designation"].lower(),
            manager="manager" in row.values["designation"].lower(),
        )
        for row in commands.table("mmlscluster", "-Y", section=_ROW)
        if {"adminNodeName", "daemonNodeName", "designation"} <= row.values.keys()
    )
    if not found:
        raise NotUnderstood(f"mmlscluster -Y lists no node in a section {_ROW}: is GPFS set up here?")
    return found


def covered(cluster: Sequence[Member], nodes: Iterable[str]) -> frozenset[str] | None:
    """Return the names of those that an `-N` list means, all for an empty one; None where it names a class of the site.

    >>> one = Member("nsd01", "nsd01.example", "nsd01.example", "10.0.0.1", quorum=True, manager=True)
    >>> covered([one], ["quorumNodes"])
    frozenset({'nsd01'})
    """
    wanted = [each.lower() for each in nodes] or ["all"]
    found: set[str] = set()
    for word in wanted:
        belongs = _CLASSES.get(word)
        those = [each.name for each in cluster if (belongs(each) if belongs else word in each.names)]
        if not those and belongs is None:
            return None
        found.update(those)
    return frozenset(found)


def same_nodes(cluster: Sequence[Member], one: Sequence[str], other: Sequence[str]) -> bool:
    """Say whether two `-N` lists mean the same nodes; no list and `all` mean also those that come later.

    How GPFS keeps a class, and which of its names a node has in the list, is not known.

    >>> same_nodes([], [], ["ALL"]), same_nodes([], ["siteNodes"], [])
    (True, False)
    """
    everywhere = [not each or "all" in (name.lower() for name in each) for each in (one, other)]
    if any(everywhere):
        return all(everywhere)
    sets = covered(cluster, one), covered(cluster, other)
    return set(one) == set(other) or (None not in sets and sets[0] == sets[1])
