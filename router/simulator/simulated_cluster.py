"""The simulated cluster: nodes with their own files, registrations, and events that run them.

```python
cluster = Cluster.create(folder, nodes=12, name="prod")
install_capture(cluster)
register_all(cluster)
cluster.raise_event("nodeLeave", {"eventNode": "cl03"})
```
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from ..errors import did_you_mean
from ..model.catalogue import Catalogue, load
from . import registered_callbacks
from .cluster_state import CallbackState, NodeState, State
from .errors import CommandRefused
from .events import propagation
from .events.execution import Call, Run, run
from .events.parameters import Lookup, arguments
from .events.propagation import Occurrence
from .events.variable_values import Known, on_node
from .setup.new_cluster import grown, new_cluster
from .setup.node_lookup import checked, covers, find
from .simulated_node import Node
from .state_database import Store
from .switches import Behaviour

BOUND = timedelta(seconds=30)


class Cluster:
    """A cluster of simulated nodes in a state folder; several programs may use it at the same time."""

    def __init__(self, folder: str | os.PathLike[str], catalogue: Catalogue | None = None) -> None:
        """Open the cluster in *folder*; raises StateUnusable if there is none."""
        self.folder = Path(folder).absolute()
        self.catalogue = catalogue or load("gpfs")
        self._store = Store(self.folder)
        self.name = self.state.name

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        nodes: int = 12,
        name: str = "prod",
        *,
        file_systems: Sequence[str] = ("gpfs1", "gpfs2"),
        up: bool = True,
        behaviour: Behaviour | None = None,
        servers: int | None = None,
    ) -> "Cluster":
        """Create a cluster of *nodes* in *folder*: *servers* `nsd01`, ... and clients `cl01`, ...

        If *up* is false, GPFS is down on all of them, and nodeJoin brings them up one by one.
        """
        now, how = datetime.now(UTC), behaviour or Behaviour()
        state = new_cluster(name, nodes, file_systems, up=up, behaviour=how, moment=now, servers=servers)
        Store(Path(folder).absolute()).create(state)
        cluster = cls(folder)
        cluster._make_places()
        return cluster

    @property
    def state(self) -> State:
        """The current state, read from the folder."""
        return self._store.read()

    @property
    def nodes(self) -> list[Node]:
        """All nodes, up or down, servers first."""
        return [self._node(each) for each in self.state.nodes]

    def node(self, text: str) -> Node:
        """Return the node with the short name, full name or address *text*."""
        return self._node(self._known(self.state, text).name)

    def behave(self, **switches: str) -> Behaviour:
        """Set *switches* of `Behaviour`; return all of them.  Raises pydantic's ValidationError."""

        def change(state: State) -> State:
            wanted = Behaviour.model_validate(state.behaviour.model_dump() | switches)
            for each in wanted.lacks:
                if each not in self.catalogue.events:
                    hint = did_you_mean(each, self.catalogue.events)
                    raise CommandRefused(f"lacks: there is no event {each!r}{hint}")
            return state.model_copy(update={"behaviour": wanted})

        return self._store.change(change).behaviour

    def change(self, how: Callable[[State], State]) -> State:
        """Replace the state by the result of *how* and return it; nothing changes if *how* raises."""
        return self._store.change(how)

    def grow(self, nodes: int) -> list[Node]:
        """Add *nodes* clients, which are down at first, and return them."""
        before = self.state.nodes.keys()
        self._store.change(lambda state: grown(state, nodes))
        self._make_places()
        return [each for each in self.nodes if each.name not in before]

    def add_callbacks(self, *wanted: CallbackState) -> None:
        """Register all of *wanted*, or none if one is refused; raises CommandRefused."""

        def change(state: State) -> State:
            for callback in wanted:
                nodes = checked(state, ",".join(callback.nodes)) if callback.nodes else ()
                stored = registered_callbacks.check(callback.model_copy(update={"nodes": nodes}), state, self.catalogue)
                self._check_program(state, stored)
                stored = registered_callbacks.dated(stored, state)
                state = state.model_copy(update={"callbacks": state.callbacks | {stored.identifier: stored}})
            return state

        self._store.change(change)

    def delete_callbacks(self, *identifiers: str) -> None:
        """Remove all registrations *identifiers*, or none if one does not exist; raises CommandRefused."""

        def change(state: State) -> State:
            for identifier in identifiers:
                if identifier not in state.callbacks:
                    hint = did_you_mean(identifier, state.callbacks)
                    raise CommandRefused(f"there is no callback {identifier!r}{hint}")
                if "tiebreakerCheck" in state.callbacks[identifier].events:
                    registered_callbacks.check_down(state, identifier)
            return registered_callbacks.without(state, identifiers)

        self._store.change(change)

    def raise_event(
        self,
        event: str,
        values: Mapping[str, str] | None = None,
        node: str | None = None,
        *,
        times: int = 1,
        bound: timedelta = BOUND,
    ) -> list[Run]:
        """Raise *event* *times* times, one after the other; return how each command ended.

        *values* gives the event's own variables; the common ones are filled in.  *node* is where a local event
        happens, or the only node that sees a global one.  Commands that still run after *bound* are killed.
        """
        if times < 1:
            raise CommandRefused(f"{event} cannot be raised {times} times: the minimum is 1")
        return [each for _ in range(times) for each in self._raise_once(event, values or {}, node, bound)]

    def _raise_once(self, event: str, values: Mapping[str, str], node: str | None, bound: timedelta) -> list[Run]:
        occurrence = self._occurrence(event, values, node)

        def change(state: State) -> State:
            propagation.noticing(state, occurrence)  # raises if the event is refused, before any change
            return propagation.before(state, occurrence)

        state = self._store.change(change)
        ended = run(self._calls(state, occurrence), state.behaviour, bound)
        failed = [(each.node, callback) for callback, each in ended if callback.sync and each.exit_code != 0]
        self._store.change(lambda state: _after_failures(propagation.after(state, occurrence), occurrence.name, failed))
        return [each for _, each in ended]

    def _occurrence(self, event: str, values: Mapping[str, str], node: str | None) -> Occurrence:
        """Check the event; *event* may have any spelling, and the daemon then uses that spelling."""
        found = self.catalogue.get(event)
        if found is None:
            raise CommandRefused(f"there is no event {event!r}{did_you_mean(event, self.catalogue.events)}")
        if registered_callbacks.is_lacking(found, self.state.behaviour):
            raise CommandRefused(f"{found.name} never happens here, because of the switches release and lacks")
        for variable, value in values.items():
            if variable not in self.catalogue.variables:
                hint = did_you_mean(variable, self.catalogue.variables)
                raise CommandRefused(f"there is no variable {variable!r}{hint}")
            _check_value(variable, value)
        short = None if node is None else self._known(self.state, node).name
        return Occurrence(found, event, dict(values), short, datetime.now(UTC))

    def _calls(self, state: State, occurrence: Occurrence) -> list[Callable[[], list[Call]]]:
        """Return a function for each node with calls that makes them: holding all arguments would need much memory."""
        found: list[Callable[[], list[Call]]] = []
        known: Known = {}
        of_event = {name: each for name, each in state.callbacks.items() if occurrence.name in each.events}
        narrowed = state.model_copy(update={"callbacks": of_event})
        for each in propagation.noticing(state, occurrence):
            registered = registered_callbacks.to_run(narrowed, occurrence.name, each)
            if registered:
                lookup = on_node(state, self.catalogue, occurrence, each, known)
                found.append(
                    partial(self._calls_of, each.name, occurrence.spelling, registered, lookup, state.behaviour)
                )
        return found

    def _calls_of(
        self, node: str, spelling: str, registered: Sequence[CallbackState], lookup: Lookup, behaviour: Behaviour
    ) -> list[Call]:
        place = self._node(node)
        return [
            Call(node, spelling, each, place.find(each.command), arguments(each.parms, lookup, behaviour), place.log)
            for each in registered
        ]

    def _check_program(self, state: State, callback: CallbackState) -> None:
        if state.behaviour.missing_program == "taken":
            return
        for node in state.nodes.values():
            if not covers(state, callback.nodes, node):
                continue
            program = self._node(node.name).find(callback.command)
            if not (program.is_file() and os.access(program, os.X_OK)):
                raise CommandRefused(f"command {callback.command} is not an executable file on node {node.name}")

    def _known(self, state: State, text: str) -> NodeState:
        node = find(state, text)
        if node is None:
            raise CommandRefused(f"{state.name} has no node {text!r}{did_you_mean(text, state.nodes)}")
        return node

    def _make_places(self) -> None:
        for node in self.nodes:
            node.root.mkdir(parents=True, exist_ok=True)

    def _node(self, name: str) -> Node:
        return Node(self.folder / "nodes" / name, name)


def _check_value(variable: str, value: str) -> None:
    """Refuse a value that cannot be an argument of a process."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise CommandRefused(f"the value of {variable} has an incomplete character: {error}") from error
    if "\0" in value:
        raise CommandRefused(f"the value of {variable} contains NUL, which an argument cannot contain")


def _after_failures(state: State, event: str, failed: Sequence[tuple[str, CallbackState]]) -> State:
    """Return *state* after the `--onerror` actions of the synchronous commands that failed."""
    for node, callback in failed:
        if callback.on_error == "shutdown":
            state = propagation.stopped(state, node)
        elif callback.on_error == "quorumLoss" and event == "tiebreakerCheck":
            state = propagation.stepped_back(state, node)
    return state
