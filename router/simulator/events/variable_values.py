"""The value of each variable on one node during an event.  Pure.

Variables that any event may use are filled in from the cluster.  The event's own variables come from the caller.  All
other variables do not apply.  Decided here, because it is not known: eventNode of a local event is the node where it
happens.
"""

from collections.abc import Callable, MutableMapping

from ...model.catalogue import Catalogue
from ..cluster_state import NodeState, State
from ..setup.node_lookup import written
from .parameters import Lookup
from .propagation import Occurrence, scope

Known = MutableMapping[tuple[str, str | None], str | None]
"""Values that are the same on all nodes: a list of thousands of nodes is built once."""


def on_node(
    state: State, catalogue: Catalogue, occurrence: Occurrence, node: NodeState, known: Known | None = None
) -> Lookup:
    """Return a function that looks up a variable on *node*: None if it does not apply, KeyError if it is unknown.

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


_OF_A_NODE = {"eventNode", "myNode"}

_FILLED_IN: dict[str, Callable[[State, Occurrence, NodeState], str | None]] = {
    "eventName": lambda _, occurrence, __: occurrence.spelling,
    "eventNode": lambda state, of, node: node.name if scope(of.type, state.behaviour) == "local" else None,
    "myNode": lambda _, __, node: node.name,
    "clusterName": lambda state, _, __: state.name,
    "clusterManager": lambda state, _, __: state.manager,
    "quorumNodes": lambda state, _, __: _list([each for each in state.nodes.values() if "quorum" in each.roles]),
    "upNodes": lambda state, _, __: _list(state.up()),
    "downNodes": lambda state, _, __: _list([each for each in state.nodes.values() if not each.up]),
}
