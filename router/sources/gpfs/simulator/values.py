"""What each variable says on one node while an event happens.  Pure.

Variables usable with any event are filled in from the cluster; the event's own come from whoever raises it; all
others do not apply.  Not known, and decided here: eventNode of a local event is the node where it happens.
"""

from collections.abc import Callable, MutableMapping

from ....catalogue import Catalogue
from .names import written
from .occurrences import Occurrence, scope
from .parameters import Lookup
from .state import NodeState, State

Known = MutableMapping[tuple[str, str | None], str | None]
"""What was looked up before, and is the same on all nodes: a list of thousands of nodes is put together once."""


def on_node(
    state: State, catalogue: Catalogue, occurrence: Occurrence, node: NodeState, known: Known | None = None
) -> Lookup:
    """Return a look-up of a variable's value on *node*: None where it does not apply, KeyError for no variable.

    *known* is shared between the nodes of one occurrence.
    """
    everywhere: Known = {} if known is None else known

    def lookup(name: str, qualifier: str | None) -> str | None:
        if name in _OF_A_NODE:
            return found(name, qualifier)
        if (name, qualifier) not in everywhere:
            everywhere[name, qualifier] = found(name, qualifier)
        return everywhere[name, qualifier]

    def found(name: str, qualifier: str | None) -> str | None:
        variable = catalogue.variables[name]
        if qualifier is not None and not variable.qualifiers:
            raise KeyError(f"{name}.{qualifier}")
        value = occurrence.values.get(name)
        if value is None and name in _FILLED_IN:
            value = _FILLED_IN[name](state, occurrence, node)
        if value is None or not variable.qualifiers:
            return value
        return written(state, value, variable.separator or ",", qualifier)

    return lookup


def _list(nodes: list[NodeState]) -> str | None:
    return ",".join(each.name for each in nodes) or None


def _event_node(state: State, occurrence: Occurrence, node: NodeState) -> str | None:
    return node.name if scope(occurrence.type, state.behaviour) == "local" else None


_OF_A_NODE = {"eventNode", "myNode"}

_FILLED_IN: dict[str, Callable[[State, Occurrence, NodeState], str | None]] = {
    "eventName": lambda _, occurrence, __: occurrence.spelling,
    "eventNode": _event_node,
    "myNode": lambda _, __, node: node.name,
    "clusterName": lambda state, _, __: state.name,
    "clusterManager": lambda state, _, __: state.manager,
    "quorumNodes": lambda state, _, __: _list([each for each in state.nodes.values() if "quorum" in each.roles]),
    "upNodes": lambda state, _, __: _list(state.up()),
    "downNodes": lambda state, _, __: _list([each for each in state.nodes.values() if not each.up]),
}
