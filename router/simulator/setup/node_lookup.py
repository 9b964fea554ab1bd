"""Looks up nodes by short name, full name or address, node classes, and lists of them.  Pure."""

from collections.abc import Callable
from pathlib import Path

from ...errors import did_you_mean
from ..cluster_state import NodeState, State
from ..errors import CommandRefused
from ..switches import Behaviour

# System node classes (recalled).  GPFS has more, which have no meaning here (linuxNodes, mount ...).
CLASSES: dict[str, Callable[[NodeState], bool]] = {
    "all": lambda _: True,
    "quorumNodes": lambda node: "quorum" in node.roles,
    "nonQuorumNodes": lambda node: "quorum" not in node.roles,
    "managerNodes": lambda node: "manager" in node.roles,
    "clientNodes": lambda node: "manager" not in node.roles,
    "nsdNodes": lambda node: "server" in node.roles,
}
_BY_LOWER_CASE = {name.lower(): members for name, members in CLASSES.items()}


def find(state: State, text: str) -> NodeState | None:
    """Return the node with the short name, full name or address *text*, or None."""
    if text in state.nodes:
        return state.nodes[text]
    return next((each for each in state.nodes.values() if text in (each.full_name, each.address)), None)


def find_all(state: State, text: str, separator: str | None = ",") -> list[NodeState | None]:
    """Return the result of `find` for each name in the list *text*."""
    return [find(state, each.strip()) for each in text.split(separator) if each.strip()]


def written(state: State, text: str, separator: str, qualifier: str | None) -> str:
    """Return the list of nodes *text* in the form of *qualifier*; unknown names stay unchanged.

    Recalled: `.name` is the full name and the default, `.shortName` its first label, `.ip` the address.
    """
    names = text.split(None if separator == " " else separator)
    return separator.join(_form(find(state, each.strip()), each, qualifier, state.behaviour) for each in names)


def _form(node: NodeState | None, text: str, qualifier: str | None, behaviour: Behaviour) -> str:
    if node is None:
        return text
    if qualifier == "ip":
        return node.address
    short = qualifier == "shortName" or (qualifier is None and behaviour.node_names == "short")
    return node.name if short else node.full_name


def checked(state: State, text: str) -> tuple[str, ...]:
    """Return the nodes and node classes of an `-N` list, unchanged; raises CommandRefused for unknown names.

    An absolute path names a node file, with one node or class on each line.
    """
    if text.startswith("/"):
        try:
            names = Path(text).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandRefused(f"cannot read the node file {text}: {error}") from error
    else:
        names = [each.strip() for each in text.split(",")]
    for name in names:
        if name.lower() not in _BY_LOWER_CASE and name not in state.classes and find(state, name) is None:
            hint = did_you_mean(name, [*state.nodes, *CLASSES, *state.classes])
            raise CommandRefused(f"{state.name} has no node or node class {name!r}{hint}")
    if not names:
        raise CommandRefused(f"the node list {text!r} is empty")
    return tuple(names)


def covers(state: State, nodes: tuple[str, ...], node: NodeState) -> bool:
    """Return whether an `-N` list includes *node*; an empty list includes all nodes.

    Decided here, because it is not known: a node class is evaluated each time, an explicit list is fixed.
    """
    return not nodes or any(_names(state, each, node) for each in nodes)


def _names(state: State, text: str, node: NodeState) -> bool:
    if text in (node.name, node.full_name, node.address):
        return True
    members = _BY_LOWER_CASE.get(text.lower())
    return node.name in state.classes.get(text, ()) if members is None else members(node)


def members_of(state: State, nodes: tuple[str, ...]) -> list[NodeState]:
    """Return the nodes that an `-N` list includes, in the cluster's order.  Raises CommandRefused as `checked`."""
    wanted = checked(state, ",".join(nodes))
    return [each for each in state.nodes.values() if covers(state, wanted, each)]
