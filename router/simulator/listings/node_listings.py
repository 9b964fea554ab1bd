"""The output of mmlscluster, mmgetstate, mmlsmgr and mmlsnodeclass.  Pure.

Known: the sections and columns of `-Y`, and that mmlscluster prints all headers first.  The section of mmlsnodeclass is
recalled.
"""

from collections.abc import Iterable, Sequence

from ..cluster_state import NodeState, State
from ..setup.node_lookup import CLASSES
from .table_lines import Plain, Table, aligned, text

_SUMMARY = Table(
    "mmlscluster",
    "clusterSummary",
    "clusterName clusterId uidDomain rshPath rshSudoWrapper rcpPath rcpSudoWrapper repositoryType "
    "primaryServer secondaryServer",
)
_NODE = Table(
    "mmlscluster",
    "clusterNode",
    "nodeNumber daemonNodeName ipAddress adminNodeName designation otherNodeRoles adminLoginName otherNodeRolesAlias",
)
_SECTIONS = (
    Table(
        "mmlscluster",
        "cnfsSummary",
        "cnfsSharedRoot cnfsMoundPort cnfsNFSDprocs cnfsReboot cnfsMonitorEnabled cnfsGanesha",
    ),
    Table("mmlscluster", "cnfsNode", "nodeNumber daemonNodeName ipAddress cnfsState cnfsGroupId cnfsIplist"),
    Table("mmlscluster", "cesSummary", "cesSharedRoot EnabledServices logLevel addressPolicy interfaceMode"),
    Table("mmlscluster", "cesNode", "nodeNumber daemonNodeName ipAddress cesGroup cesState cesIpList"),
    Table("mmlscluster", "cloudGatewayNode", "nodeNumber daemonNodeName"),
    Table("mmlscluster", "commentNode", "nodeNumber daemonNodeName comment_enc"),
)
_ROLES = {"gateway": "G", "ces": "X", "perfmon": "Z"}
"""Names and letters of the other roles of a node, as in a public module of IBM."""

_STATE = Table(
    "mmgetstate", "", "nodeName nodeNumber state quorum nodesUp totalNodes remarks cnfsState daemonShortName"
)
_MANAGER = Table("mmlsmgr", "clusterManager", "manager")
_MANAGERS = Table("mmlsmgr", "filesystemManager", "filesystem manager managerIP")
_CLASS = Table("mmlsnodeclass", "nodeClasses", "nodeClass memberClasses memberNodes allMembers")
_UNDEFINED = Plain("(undefined)")


def cluster_for_programs(state: State) -> str:
    """Return *state* as `mmlscluster -Y` prints it."""
    summary = [(state.name, state.id, state.name, "/usr/bin/ssh", "no", "/usr/bin/scp", "no", "CCR", "", "")]
    ces = [_ces_node(each) for each in state.nodes.values() if "ces" in each.roles]
    filled: list[tuple[Table, Sequence[Sequence[str]]]] = [
        (_SUMMARY, summary),
        (_NODE, [_node(each) for each in state.nodes.values()]),
        *((each, ces if each.section == "cesNode" else []) for each in _SECTIONS),
    ]
    headers = "".join(table.lines([], state.behaviour) for table, _ in filled)
    return headers + "".join(table.rows(found, state.behaviour) for table, found in filled)


def _node(node: NodeState) -> tuple[str, ...]:
    others = [each for each in _ROLES if each in node.roles]
    letters, names = ",".join(_ROLES[each] for each in others), ",".join(others)
    return (str(node.number), node.full_name, node.address, node.full_name, _designation(node), letters, "", names)


def _ces_node(node: NodeState) -> tuple[str, ...]:
    return str(node.number), node.full_name, node.address, "", "e", ""


def _designation(node: NodeState) -> str:
    quorum, manager = "quorum" in node.roles, "manager" in node.roles
    return {(True, True): "quorumManager", (True, False): "quorum", (False, True): "manager"}.get((quorum, manager), "")


def cluster_for_people(state: State) -> str:
    """Return *state* as mmlscluster prints it (recalled)."""
    lines = [
        "",
        "GPFS cluster information",
        "========================",
        f"  GPFS cluster name:         {state.name}",
        f"  GPFS cluster id:           {state.id}",
        f"  GPFS UID domain:           {state.name}",
        "  Remote shell command:      /usr/bin/ssh",
        "  Remote file copy command:  /usr/bin/scp",
        "  Repository type:           CCR",
        "",
    ]
    rows = [("Node", "Daemon node name", "IP address", "Admin node name", "Designation")]
    for each in state.nodes.values():
        roles = "-".join(role for role in ("quorum", "manager", *_ROLES) if role in each.roles)
        rows.append((str(each.number), each.full_name, each.address, each.full_name, roles))
    title, *table = aligned(rows, " ")
    return text([*lines, title, "-" * max(len(title), *(len(each) for each in table)), *table])


def states_for_programs(state: State, nodes: Iterable[NodeState]) -> str:
    """Return *nodes* as `mmgetstate -Y` prints them."""
    return _STATE.lines(_states(state, nodes), state.behaviour)


def _states(state: State, nodes: Iterable[NodeState]) -> list[tuple[str, ...]]:
    """Return the row of each node; without quorum, nodes that are up are arbitrating.

    `nodesUp` counts quorum nodes, as in a public sample with 3 of 88.  That it and the quorum are 0 for a node that is
    down is recalled.
    """
    needed, up, total = state.quorum_needed, len(state.up("quorum")), len(state.nodes)
    words = "active" if up >= needed else "arbitrating"
    rows: list[tuple[str, ...]] = []
    for each in nodes:
        numbers = (str(needed), str(up)) if each.up else ("0", "0")
        remark = "quorum node" if "quorum" in each.roles else ""
        name = Plain(each.name)
        rows.append(
            (name, str(each.number), words if each.up else "down", *numbers, str(total), remark, _UNDEFINED, name)
        )
    return rows


def states_for_people(state: State, nodes: Iterable[NodeState]) -> str:
    """Return *nodes* as mmgetstate prints them (recalled)."""
    title = (" Node number", "Node name", "Quorum", "Nodes up", "Total nodes", "GPFS state", "Remarks")
    rows = [(f" {row[1]:>11}", row[0], *row[3:6], row[2], row[6]) for row in _states(state, nodes)]
    head, *table = aligned([title, *rows])
    return text(["", head, "-" * len(head), *table])


def managers_for_programs(state: State, manager: str, devices: Sequence[str] | None) -> str:
    """Return the cluster's *manager* and the managers of *devices* (None for all), as `mmlsmgr -Y` prints them."""
    systems = (
        [_managing(state, each) for each in devices if state.file_systems[each]]
        if devices is not None
        else [_managing(state, each) for each, holder in state.file_systems.items() if holder]
    )
    first = _MANAGER.lines([(manager,)], state.behaviour) if devices is None else ""
    return first + _MANAGERS.lines(systems, state.behaviour)


def _managing(state: State, device: str) -> tuple[str, str, str]:
    holder = state.nodes[str(state.file_systems[device])]
    return device, holder.name, holder.address


def managers_for_people(state: State, manager: str) -> str:
    """Return the managers as mmlsmgr prints them (recalled)."""
    rows = [("file system", "manager node")]
    for device, holder in state.file_systems.items():
        if holder:
            rows.append((device, f"{state.nodes[holder].address} ({holder})"))
    head, *table = aligned(rows)
    office = f"Cluster manager node: {state.nodes[manager].address} ({manager})"
    return text([head, "-" * 40, *table, "", office])


def classes(state: State, which: str) -> dict[str, list[str]]:
    """Return the node classes of `user`, of the `system`, or `all`, with the names of their members."""
    system = {name: [each.name for each in state.nodes.values() if belongs(each)] for name, belongs in CLASSES.items()}
    user = {name: list(members) for name, members in state.classes.items()}
    return {"user": user, "system": system}.get(which, system | user)


def classes_for_programs(state: State, found: dict[str, list[str]]) -> str:
    """Return node classes as `mmlsnodeclass -Y` prints them."""
    listed = [(name, ",".join(members)) for name, members in found.items()]
    return _CLASS.lines([(name, "", members, members) for name, members in listed], state.behaviour)


def classes_for_people(found: dict[str, list[str]]) -> str:
    """Return node classes as mmlsnodeclass prints them (recalled)."""
    rows = [("Node Class Name", "Members"), ("---------------------", "-" * 59)]
    return text(aligned([*rows, *((name, ",".join(members)) for name, members in found.items())]))
