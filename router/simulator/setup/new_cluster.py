"""The state of a new cluster.  Pure."""

import re
from collections.abc import Sequence
from datetime import datetime

from ..cluster_state import NodeState, Role, State
from ..errors import CommandRefused
from ..switches import Behaviour
from .new_file_system import new_file_system

MOST_NODES = 5000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_QUORUM = 3
_LAST = 2
_FIRST_NUMBER = 1


BEGINNING = datetime.fromisoformat("2026-01-05T08:00:00+00:00")
"""The default creation time of a cluster."""


def new_cluster(
    name: str,
    nodes: int,
    file_systems: Sequence[str],
    *,
    up: bool,
    behaviour: Behaviour,
    moment: datetime = BEGINNING,
    servers: int | None = None,
) -> State:
    """Return a cluster of *nodes*: *servers* of them, by default a third and at most eight; the others are clients.

    Servers may be managers and have performance monitoring; the first three (or the first one) are quorum nodes; the
    last two are also AFM gateways and protocol (CES) nodes.

    >>> state = new_cluster("prod", 12, ["gpfs1"], up=True, behaviour=Behaviour())
    >>> [each.name for each in state.nodes.values()][:5], state.manager, state.file_systems
    (['nsd01', 'nsd02', 'nsd03', 'nsd04', 'cl01'], 'nsd01', {'gpfs1': 'nsd01'})
    """
    if not 1 <= nodes <= MOST_NODES:
        raise CommandRefused(f"a cluster of {nodes} nodes is not possible: choose 1 to {MOST_NODES}")
    for each in (name, *file_systems):
        if not _NAME.fullmatch(each):
            raise CommandRefused(f"{each!r} cannot name a cluster or file system: use letters, digits, _, - and .")
    servers = min(max(1, nodes // 3), 8) if servers is None else servers
    if not 1 <= servers <= nodes:
        raise CommandRefused(f"{nodes} nodes cannot have {servers} servers: choose 1 to {nodes}")
    made = [_node(name, index, servers, frozenset(file_systems), up=up) for index in range(nodes)]
    managers = [each.name for each in made[:servers]] if up else [None]
    holders = [each.name for each in made[:servers]]
    held = [new_file_system(each, place, holders, moment) for place, each in enumerate(file_systems)]
    return State(
        name=name,
        id="8370000000000000001",
        manager=managers[0],
        nodes={each.name: each for each in made},
        file_systems={each: managers[place % len(managers)] for place, each in enumerate(file_systems)},
        behaviour=behaviour,
        disks={key: disk for each in held for key, disk in each.disks.items()},
        filesets={key: fileset for each in held for key, fileset in each.filesets.items()},
        quotas={key: quota for each in held for key, quota in each.quotas.items()},
    )


def grown(state: State, nodes: int) -> State:
    """Return *state* with *nodes* more clients, which are down until nodeJoin."""
    if nodes < 1 or len(state.nodes) + nodes > MOST_NODES:
        raise CommandRefused(
            f"{state.name} has {len(state.nodes)} nodes and cannot grow by {nodes}: the maximum is {MOST_NODES} in all"
        )
    servers = sum("server" in each.roles for each in state.nodes.values())
    first = len(state.nodes)
    added = [_node(state.name, index, servers, frozenset(), up=False) for index in range(first, first + nodes)]
    return state.model_copy(update={"nodes": state.nodes | {each.name: each for each in added}})


def _node(cluster: str, index: int, servers: int, mounts: frozenset[str], *, up: bool) -> NodeState:
    server = index < servers
    short = f"nsd{index + 1:02}" if server else f"cl{index - servers + 1:02}"
    return NodeState(
        name=short,
        full_name=f"{short}.{cluster.lower().replace('_', '-')}.example",
        address=f"10.0.{index // 250}.{index % 250 + 1}",
        number=index + _FIRST_NUMBER,
        roles=_roles(index, servers) if server else frozenset(),
        up=up,
        mounts=mounts if up else frozenset(),
    )


def _roles(index: int, servers: int) -> frozenset[Role]:
    roles: set[Role] = {"server", "manager", "perfmon"}
    if index < (_QUORUM if servers >= _QUORUM else 1):
        roles.add("quorum")
    if index >= servers - _LAST:
        roles |= {"gateway", "ces"}
    return frozenset(roles)
