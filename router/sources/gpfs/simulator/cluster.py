"""The simulated cluster as an object: nodes with files of their own, registrations, and events that run them.

```python
cluster = Cluster.create(folder, nodes=12, name="prod")
install_capture(cluster)
register_all(cluster)
cluster.raise_event("nodeLeave", {"eventNode": "cl03"})
```
"""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from ....catalogue import Catalogue, load
from . import callbacks, occurrences
from .births import newborn
from .errors import CommandRefused, near
from .names import checked, covers, find
from .node import Node
from .occurrences import Occurrence
from .parameters import arguments
from .processes import Call, Run, run
from .state import Behaviour, CallbackState, NodeState, State, Store
from .values import on_node

BOUND = timedelta(seconds=30)


class Cluster:
    """A cluster of simulated nodes over a state folder; several programs may use it at the same time."""

    def __init__(self, folder: str | os.PathLike[str], catalogue: Catalogue | None = None) -> None:
        """Open the cluster in *folder*; raises StateUnusable where there is none."""
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
    ) -> "Cluster":
        """Make a cluster of *nodes* in *folder*: servers `nsd01` and on, clients `cl01` and on.

        With *up* false GPFS is down on all of them, and nodeJoin brings them up one by one.
        """
        state = newborn(name, nodes, file_systems, up=up, behaviour=behaviour or Behaviour())
        Store(Path(folder).absolute()).create(state)
        cluster = cls(folder)
        for node in cluster.nodes:
            node.root.mkdir(parents=True, exist_ok=True)
        return cluster

    @property
    def state(self) -> State:
        """The present state, read anew."""
        return self._store.read()

    @property
    def nodes(self) -> list[Node]:
        """All nodes, up or down, servers first."""
        return [self._node(each) for each in self.state.nodes]

    def node(self, text: str) -> Node:
        """Return the node of that short name, full name or address."""
        return self._node(self._known(self.state, text).name)

    def behave(self, **switches: str) -> Behaviour:
        """Set *switches* of `Behaviour`; return all of them."""
        return self._store.change(
            lambda state: state.model_copy(
                update={"behaviour": Behaviour.model_validate(state.behaviour.model_dump() | switches)}
            )
        ).behaviour

    def add_callbacks(self, *wanted: CallbackState) -> None:
        """Register *wanted*, all or, where one is refused, none; raises CommandRefused."""

        def change(state: State) -> State:
            for callback in wanted:
                nodes = checked(state, ",".join(callback.nodes)) if callback.nodes else ()
                stored = callbacks.check(callback.model_copy(update={"nodes": nodes}), state, self.catalogue)
                self._check_program(state, stored)
                state = state.model_copy(update={"callbacks": state.callbacks | {stored.identifier: stored}})
            return state

        self._store.change(change)

    def delete_callbacks(self, *identifiers: str) -> None:
        """Remove the registrations of these *identifiers*, all or, where one is not there, none."""

        def change(state: State) -> State:
            for identifier in identifiers:
                if identifier not in state.callbacks:
                    raise CommandRefused(f"there is no callback {identifier!r}{near(identifier, state.callbacks)}")
                if "tiebreakerCheck" in state.callbacks[identifier].events:
                    callbacks.check_down(state, identifier)
            kept = {name: each for name, each in state.callbacks.items() if name not in identifiers}
            return state.model_copy(update={"callbacks": kept})

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
        """Let *event* happen *times* times, one after the other; return how each command ended.

        *values* gives the variables that belong to the event; the common ones are filled in.  *node* is where a
        local event happens, or the only node that notices a global one.  What still runs after *bound* is killed.
        """
        if times < 1:
            raise CommandRefused(f"{event} cannot happen {times} times: once at least")
        return [each for _ in range(times) for each in self._raise_once(event, values or {}, node, bound)]

    def _raise_once(self, event: str, values: Mapping[str, str], node: str | None, bound: timedelta) -> list[Run]:
        occurrence = self._occurrence(event, values, node)

        def change(state: State) -> State:
            occurrences.noticing(state, occurrence)  # so that nothing changes where the event is refused
            return occurrences.before(state, occurrence)

        state = self._store.change(change)
        calls = self._calls(state, occurrence)
        runs = run(calls, bound)
        failed = [
            call
            for call, each in zip((call for of_a_node in calls.values() for call in of_a_node), runs, strict=True)
            if call.callback.sync and each.exit_code != 0
        ]
        self._store.change(lambda state: _acted_on(occurrences.after(state, occurrence), occurrence.name, failed))
        return runs

    def _occurrence(self, event: str, values: Mapping[str, str], node: str | None) -> Occurrence:
        """Check what is to happen; any spelling of *event* will do, and the daemon then spells it so."""
        found = self.catalogue.get(event)
        if found is None:
            raise CommandRefused(f"there is no event {event!r}{near(event, self.catalogue.events)}")
        for variable, value in values.items():
            if variable not in self.catalogue.variables:
                raise CommandRefused(f"there is no variable {variable!r}{near(variable, self.catalogue.variables)}")
            _check_value(variable, value)
        short = None if node is None else self._known(self.state, node).name
        return Occurrence(found, event, dict(values), short)

    def _calls(self, state: State, occurrence: Occurrence) -> dict[str, list[Call]]:
        found = {}
        for each in occurrences.noticing(state, occurrence):
            registered = callbacks.to_run(state, occurrence.name, each)
            if registered:
                found[each.name] = [self._call(state, occurrence, each, callback) for callback in registered]
        return found

    def _call(self, state: State, occurrence: Occurrence, node: NodeState, callback: CallbackState) -> Call:
        place = self._node(node.name)
        lookup = on_node(state, self.catalogue, occurrence, node)
        given = arguments(callback.parms, lookup, state.behaviour)
        return Call(node.name, occurrence.spelling, callback, place.find(callback.command), given, place.log)

    def _check_program(self, state: State, callback: CallbackState) -> None:
        for node in state.nodes.values():
            if not covers(state, callback.nodes, node):
                continue
            program = self._node(node.name).find(callback.command)
            if not (program.is_file() and os.access(program, os.X_OK)):
                raise CommandRefused(f"command {callback.command} is no executable file on node {node.name}")

    def _known(self, state: State, text: str) -> NodeState:
        node = find(state, text)
        if node is None:
            raise CommandRefused(f"{state.name} has no node {text!r}{near(text, state.nodes)}")
        return node

    def _node(self, name: str) -> Node:
        return Node(self.folder / "nodes" / name, name)


def _check_value(variable: str, value: str) -> None:
    """Refuse what no argument of a process can hold."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise CommandRefused(f"the value of {variable} has half a character in it: {error}") from error
    if "\0" in value:
        raise CommandRefused(f"the value of {variable} has a NUL in it, which no argument can hold")


def _acted_on(state: State, event: str, failed: Sequence[Call]) -> State:
    """Return *state* after the actions that `--onerror` asks for where a synchronous command failed."""
    for call in failed:
        if call.callback.on_error == "shutdown":
            state = occurrences.stopped(state, call.node)
        elif call.callback.on_error == "quorumLoss" and event == "tiebreakerCheck":
            state = occurrences.stepped_back(state, call.node)
    return state
