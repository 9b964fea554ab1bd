"""What mmlscallback and mmlscluster print, for people and (`-Y`) for programs.  Pure.

`-Y` lines are `command:section:HEADER:version:reserved:reserved:field:...:`, values percent-encoded.  Known: that
form, the human form of mmlscallback, and the fields of mmlscluster.  Not known: the fields of `mmlscallback -Y` (here
the options' names), whether `%` itself is encoded (`Behaviour.percent`), and under which words the human
form shows options other than command, event and parms.
"""

from collections.abc import Iterable, Sequence

from .state import CallbackState, NodeState, State

_ENCODED = "!#$&'()*+,/:;=?@[]"
_CALLBACK = ("identifier", "command", "priority", "sync", "timeout", "event", "node", "parms", "onerror")
_SUMMARY = (
    *("clusterName", "clusterId", "uidDomain", "rshPath", "rshSudoWrapper", "rcpPath", "rcpSudoWrapper"),
    *("repositoryType", "primaryServer", "secondaryServer"),
)
_NODE = (
    *("nodeNumber", "daemonNodeName", "ipAddress", "adminNodeName", "designation", "otherNodeRoles"),
    *("adminLoginName", "otherNodeRolesAlias"),
)


def callbacks_for_people(callbacks: Iterable[CallbackState]) -> str:
    """Return *callbacks* as mmlscallback prints them; options that are not set are left out."""
    lines = []
    for each in callbacks:
        lines.append(each.identifier)
        shown = zip(_CALLBACK, _fields(each), strict=True)
        settings = [(key, value) for key, value in shown if value and key != "identifier"]
        lines += [f"        {key:<13} = {value}" for key, value in settings]
    return "".join(f"{each}\n" for each in lines)


def callbacks_for_programs(callbacks: Iterable[CallbackState], *, encode_percent: bool = True) -> str:
    """Return *callbacks* as `mmlscallback -Y` is taken to print them."""
    return _table("mmlscallback", "", _CALLBACK, [_fields(each) for each in callbacks], encode_percent=encode_percent)


def _fields(callback: CallbackState) -> tuple[str, ...]:
    return (
        callback.identifier,
        callback.command,
        "" if callback.priority is None else f"{callback.priority:g}",
        "yes" if callback.sync else "",
        "" if callback.timeout is None else str(callback.timeout),
        ",".join(callback.events),
        ",".join(callback.nodes),
        callback.parms,
        callback.on_error or "",
    )


def cluster_for_programs(state: State) -> str:
    """Return *state* as `mmlscluster -Y` prints it."""
    summary = [(state.name, state.id, state.name, "/usr/bin/ssh", "no", "/usr/bin/scp", "no", "CCR", "", "")]
    return _table("mmlscluster", "clusterSummary", _SUMMARY, summary) + _table(
        "mmlscluster", "clusterNode", _NODE, [_node(each) for each in state.nodes.values()]
    )


def _node(node: NodeState) -> tuple[str, ...]:
    other = "gateway" if "gateway" in node.roles else ""
    alias = "G" if other else ""
    return (str(node.number), node.full_name, node.address, node.full_name, _designation(node, ""), other, "", alias)


def _designation(node: NodeState, separator: str) -> str:
    quorum, manager = "quorum" in node.roles, "manager" in node.roles
    if separator:
        return separator.join(each for each in ("quorum", "manager", "gateway") if each in node.roles)
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
    title = ("Node", "Daemon node name", "IP address", "Admin node name", "Designation")
    rows = [
        (str(each.number), each.full_name, each.address, each.full_name, _designation(each, "-"))
        for each in state.nodes.values()
    ]
    widths = [max(len(row[column]) for row in (title, *rows)) for column in range(len(title))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (title, *rows)]
    rule = "-" * (len(table[0]) + 1)
    return "".join(f"{each}\n" for each in [*lines, f" {table[0]}", rule, *(f" {each.rstrip()}" for each in table[1:])])


def _table(
    command: str, section: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, encode_percent: bool = True
) -> str:
    lines = [":".join((command, section, "HEADER", "version", "reserved", "reserved", *header, ""))]
    for row in rows:
        cells = [_encoded(each, encode_percent=encode_percent) for each in row]
        lines.append(":".join((command, section, "0", "1", "", "", *cells, "")))
    return "".join(f"{each}\n" for each in lines)


def _encoded(value: str, *, encode_percent: bool) -> str:
    special = _ENCODED + ("%" if encode_percent else "")
    return "".join(f"%{ord(each):02X}" if each in special else each for each in value)
