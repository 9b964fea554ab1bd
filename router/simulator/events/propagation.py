"""An event in the simulated cluster: which nodes see it, and what it changes.  Pure.

Known: a global event runs a callback on every node that is up and that it is registered for; a local event only on the
node where it happens; events of a file system (quota, space, disk, snapshot) happen on its manager node.

Decided here, because it is not known: quorumReached runs on the cluster manager only (`Behaviour.quorum_reached`).
Unless a node is given, fsstruct happens on the file system manager, events of the configuration on the cluster manager,
AFM events on the first gateway, and RAID events on the first server.  Nothing runs on a node whose daemon is down.  The
two events about the expiry of an AFM cache are global (`Behaviour.afm_scope`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ...model.catalogue import EventType
from ...model.events import Scope
from ..cluster_state import NodeState, Role, State
from ..errors import CommandRefused
from ..setup.node_lookup import find, find_all
from ..switches import Behaviour
from . import effects

_OF_A_FILE_SYSTEM = {"quota", "space", "disk", "snapshot"}
_JOINING = {"nodeJoin", "quorumNodeJoin"}
_LEAVING = {"nodeLeave", "quorumNodeLeave"}
_STARTING = {"preStartup", "startup"}
_EXPIRING = {"afmFilesetExpired", "afmFilesetUnexpired"}


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event of *type*, in the daemon's *spelling*, with its *values*, on *node* (a short name) if one was given."""

    type: EventType
    spelling: str
    values: Mapping[str, str] = field(default_factory=dict)
    node: str | None = None
    moment: datetime | None = None

    @property
    def name(self) -> str:
        """The event's name in the catalogue."""
        return self.type.name


def scope(event: EventType, behaviour: Behaviour) -> Scope:
    """Return whether *event* is global or local, with the switch that applies."""
    return "local" if event.name in _EXPIRING and behaviour.afm_scope == "local" else event.scope


def noticing(state: State, occurrence: Occurrence) -> list[NodeState]:
    """Return the nodes whose daemon runs the callbacks of *occurrence*, in the cluster's order.

    If *occurrence* has a node, only that node sees it, also if the event is global.  Raises CommandRefused if a local
    event needs a node and has none.
    """
    if occurrence.node is not None:
        nodes = [state.nodes[occurrence.node]]
    elif occurrence.name == "quorumReached" and state.behaviour.quorum_reached == "manager":
        nodes = [state.nodes[state.manager]] if state.manager else []
    elif scope(occurrence.type, state.behaviour) == "global":
        nodes = list(state.nodes.values())
    else:
        nodes = _place(state, occurrence)
    return [each for each in nodes if each.up]


def _place(state: State, occurrence: Occurrence) -> list[NodeState]:
    """Return the node on which a local event happens; empty if no suitable node is up."""
    category, name = occurrence.type.category, occurrence.name
    if category in _OF_A_FILE_SYSTEM or name == "fsstruct":
        manager = state.file_systems[_file_system(state, occurrence)]
        return [state.nodes[manager]] if manager else []
    if category == "afm":
        return state.up("gateway")[:1]
    if category == "raid":
        return state.up("server")[:1]
    if category == "config" or name == "tiebreakerCheck":
        return [state.nodes[state.manager]] if state.manager else []
    raise CommandRefused(f"{name} happens on one node: name it with --node; {state.name} has {_some(state.nodes)}")


def _file_system(state: State, occurrence: Occurrence) -> str:
    name = occurrence.values.get("fsName")
    if name is None:
        raise CommandRefused(f"{occurrence.name} belongs to a file system: give fsName=NAME, or a node with --node")
    if name not in state.file_systems:
        known = ", ".join(state.file_systems) or "none"
        raise CommandRefused(f"{state.name} has no file system {name!r}: name one of {known}, or a node with --node")
    return name


def _some(names: Mapping[str, object]) -> str:
    shown = list(names)[:4]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")


def before(state: State, occurrence: Occurrence) -> State:
    """Return the state in which the callbacks of *occurrence* run.

    By then, a joining or starting node is up, a leaving node is down, a new cluster manager is active, a disk is down,
    a quota is exceeded, a snapshot exists.
    """
    name = occurrence.name
    if state.behaviour.propagation:
        state = state.model_copy(update={"happened": state.happened + 1})
    if name in _JOINING:
        return _settled(_with(state, _about(state, occurrence), lambda node: node.model_copy(update={"up": True})))
    if name in _LEAVING:
        return _settled(_with(state, _about(state, occurrence), down))
    if name in _STARTING and occurrence.node:
        started = [state.nodes[occurrence.node]]
        return _settled(_with(state, started, lambda node: node.model_copy(update={"up": True})))
    if name == "clusterManagerTakeOver":
        manager = find(state, occurrence.values.get("clusterManager", ""))
        if manager is not None and manager.up:
            return state.model_copy(update={"manager": manager.name})
    if name in effects.EFFECTS:
        return effects.EFFECTS[name](state, occurrence.values, occurrence.moment)
    return state


def after(state: State, occurrence: Occurrence) -> State:
    """Return the state after the callbacks of *occurrence* have run: mounted, unmounted, stopped."""
    if occurrence.node is None:
        return state
    here = [state.nodes[occurrence.node]]
    device = frozenset({occurrence.values.get("fsName", "")}) & state.file_systems.keys()
    match occurrence.name:
        case "mount" if here[0].up:
            return _with(state, here, lambda node: node.model_copy(update={"mounts": node.mounts | device}))
        case "unmount":
            return _with(state, here, lambda node: node.model_copy(update={"mounts": node.mounts - device}))
        case "shutdown":
            return _settled(_with(state, here, down))
        case _:
            return state


def down(node: NodeState) -> NodeState:
    """Return *node* with its daemon down and nothing mounted."""
    return node.model_copy(update={"up": False, "mounts": frozenset()})


def stopped(state: State, node: str) -> State:
    """Return *state* after GPFS was stopped on *node*."""
    return _settled(_with(state, [state.nodes[node]], down))


def stepped_back(state: State, node: str) -> State:
    """Return *state* after *node* resigned as cluster manager, or refused to become it."""
    others = [each.name for each in state.up("quorum") if each.name != node]
    return state if state.manager != node else state.model_copy(update={"manager": next(iter(others), None)})


def _about(state: State, occurrence: Occurrence) -> list[NodeState]:
    known = find_all(state, occurrence.values.get("eventNode", ""))
    return [each for each in known if each is not None]


def _with(state: State, nodes: list[NodeState], change: Callable[[NodeState], NodeState]) -> State:
    changed = {each.name: new for each in nodes if (new := change(each)) != each}
    return state.model_copy(update={"nodes": state.nodes | changed}) if changed else state


def _settled(state: State) -> State:
    """Return *state* with a cluster manager and file system managers that are up, if there are suitable nodes."""
    manager = _elected(state, state.manager, "quorum", 0)
    managers = {
        name: _elected(state, holder, "manager", place)
        for place, (name, holder) in enumerate(state.file_systems.items())
    }
    if (manager, managers) == (state.manager, state.file_systems):
        return state
    return state.model_copy(update={"manager": manager, "file_systems": managers})


def _elected(state: State, holder: str | None, role: Role, place: int) -> str | None:
    if holder is not None and state.nodes[holder].up:
        return holder
    candidates = state.up(role)
    return candidates[place % len(candidates)].name if candidates else None
