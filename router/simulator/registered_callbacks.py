"""Registrations: what mmaddcallback checks, and in which order and on which nodes callbacks run.  Pure.

Known: the rules for identifiers; the absolute path; that the command must exist on every node, outside GPFS;
`--timeout` and `--onerror` only with `--sync`; the three actions; that GPFS must be down everywhere for
tiebreakerCheck.  Decided here, because it is not known: the wording of refusals, and which of these rules GPFS checks
itself (switches of `Behaviour`).
"""

import re
from collections.abc import Collection

from ..errors import did_you_mean
from ..model.catalogue import Catalogue, EventType
from .cluster_state import CallbackState, FormerState, NodeState, State
from .errors import CommandRefused
from .events.parameters import QUALIFIERS, variables
from .events.propagation import scope
from .setup.node_lookup import covers
from .switches import Behaviour

IDENTIFIER_LENGTH = 255

_FORBIDDEN = re.compile(r"[:;, \t]")
_RESERVED = ("gpfs", "mm")

# The callbacks that GPFS registers itself (seen in 4.2.3); the simulator lists them and never runs them.
SYSTEM = tuple(
    CallbackState(identifier=identifier, command=f"/usr/lpp/mmfs/bin/{program}", events=(event,))
    for identifier, program, event in (
        ("mmClusterManagerRoleChange", "mmsysmonc", "clusterManagerTakeOver"),
        ("mmSysMonGpfsStartup", "mmsysmoncontrol", "startup"),
        ("mmSinceShutdownRoleChange", "mmsysmonc", "startup"),
        ("mmsysmonjsonChange", "mmsysmonc", "ccrFileChange"),
    )
)


def check(callback: CallbackState, state: State, catalogue: Catalogue) -> CallbackState:
    """Return *callback* as it is stored, with the catalogue's event names; raises CommandRefused."""
    _check_identifier(callback.identifier)
    if (known := _known(callback.identifier, state)) is not None:
        raise CommandRefused(f"callback identifier {known!r} exists already: delete it, or choose another")
    if not callback.command.startswith("/"):
        raise CommandRefused(f"command {callback.command!r} is not an absolute path: it must begin with /")
    if not callback.events:
        raise CommandRefused("no event is given: name at least one with --event")
    for option, value in (("--timeout", callback.timeout), ("--onerror", callback.on_error)):
        if value is not None and not callback.sync:
            raise CommandRefused(f"{option} {value} needs --sync: add --sync, or leave {option} out")
    _check_text(callback)
    _check_place(callback, state)
    events = tuple(dict.fromkeys(_event(each, state.behaviour, catalogue) for each in callback.events))
    _check_scopes(events, state.behaviour, catalogue)
    if "tiebreakerCheck" in events:
        check_down(state, callback.identifier)
    _check_variables(callback, state, catalogue)
    return callback.model_copy(update={"events": events})


def _check_identifier(identifier: str) -> None:
    if not identifier:
        raise CommandRefused("the callback identifier is empty")
    if len(identifier) > IDENTIFIER_LENGTH:
        raise CommandRefused(
            f"callback identifier {identifier[:40]!r}... has {len(identifier)} characters: "
            f"at most {IDENTIFIER_LENGTH} are allowed"
        )
    if match := _FORBIDDEN.search(identifier):
        raise CommandRefused(
            f"callback identifier {identifier!r} has {match[0]!r} in it: "
            "no colon, semicolon, blank, tab or comma is allowed"
        )
    for start in _RESERVED:
        if identifier.startswith(start):
            raise CommandRefused(f"callback identifier {identifier!r} begins with {start!r}, reserved for GPFS")


def _known(identifier: str, state: State) -> str | None:
    if state.behaviour.callback_case == "distinguished":
        return identifier if identifier in state.callbacks else None
    return next((each for each in state.callbacks if each.lower() == identifier.lower()), None)


def _check_place(callback: CallbackState, state: State) -> None:
    """Refuse a command in GPFS: it would deadlock if the file system waits for it."""
    if state.behaviour.program_in_gpfs == "taken":
        return
    for each in state.file_systems:
        if callback.command.startswith(f"/gpfs/{each}/"):
            raise CommandRefused(
                f"command {callback.command} lies in the file system {each}: move it to a local file system"
            )


def _check_scopes(events: tuple[str, ...], behaviour: Behaviour, catalogue: Catalogue) -> None:
    if behaviour.mixed_scopes == "taken":
        return
    by_scope: dict[str, str] = {}
    for each in events:
        if each in catalogue.events:
            by_scope.setdefault(scope(catalogue.events[each], behaviour), each)
    if len(by_scope) > 1:
        raise CommandRefused(
            f"{by_scope['global']} is a global event and {by_scope['local']} a local one: register them separately"
        )


def _check_text(callback: CallbackState) -> None:
    """Refuse text that the state cannot store or that would break the lines of a listing."""
    texts = {"identifier": callback.identifier, "--command": callback.command, "--parms": callback.parms}
    for what, value in texts.items():
        if not value.isprintable():
            raise CommandRefused(f"{what} {value!r} has characters that cannot be printed: remove them")


def _event(name: str, behaviour: Behaviour, catalogue: Catalogue) -> str:
    found = catalogue.get(name)
    if found is not None and found.name != name and behaviour.event_case == "exact":
        found = None
    if found is not None and not is_lacking(found, behaviour):
        return found.name
    if behaviour.unknown_events == "taken":
        return name
    known = (each.name for each in catalogue.events.values() if not is_lacking(each, behaviour))
    raise CommandRefused(f"there is no event {name!r}{did_you_mean(name, known)}")


_BY_4_2 = re.compile(r"(RAID )?4\.2(\.\d)? or earlier|4\.1 .*|seen in 4\.2.*")
_BY_5_0 = re.compile(r"5\.0(\.\d)? or earlier")


def is_lacking(event: EventType, behaviour: Behaviour) -> bool:
    """Return whether the simulated release lacks *event*; an event of unknown age exists only in 6.0."""
    if event.name in behaviour.lacks:
        return True
    early = _BY_4_2.fullmatch(event.since) is not None
    match behaviour.release:
        case "4.2":
            return not early
        case "5.0":
            return not early and _BY_5_0.fullmatch(event.since) is None
        case _:
            return False


def dated(callback: CallbackState, state: State) -> CallbackState:
    """Return *callback* as registered now, with what is needed for slow nodes and for nodes added later."""
    last = max(each.number for each in state.nodes.values())
    covers = last if state.behaviour.new_nodes == "left_out" and not callback.nodes else None
    return callback.model_copy(update={"since": state.happened, "covers": covers})


def without(state: State, identifiers: Collection[str]) -> State:
    """Return *state* without the registrations *identifiers*; slow nodes may use them for a while."""
    kept = {name: each for name, each in state.callbacks.items() if name not in identifiers}
    former = {
        f"{state.happened}/{name}": FormerState(callback=each, until=state.happened)
        for name, each in state.callbacks.items()
        if name in identifiers and state.behaviour.propagation
    }
    still = {
        key: each for key, each in state.former.items() if each.until + state.behaviour.propagation >= state.happened
    }
    return state.model_copy(update={"callbacks": kept, "former": still | former})


def check_down(state: State, identifier: str) -> None:
    """Refuse to change the callback *identifier*, which has tiebreakerCheck, while GPFS is up on any node."""
    if running := state.up():
        raise CommandRefused(
            f"callback {identifier!r} has the event tiebreakerCheck: GPFS must be down on all nodes, "
            f"but is up on {len(running)}, for example {running[0].name}"
        )


def _check_variables(callback: CallbackState, state: State, catalogue: Catalogue) -> None:
    if state.behaviour.unknown_variable == "literal":
        return
    for name, qualifier in variables(callback.parms, state.behaviour):
        variable = catalogue.variables.get(name)
        if variable is None:
            raise CommandRefused(f"--parms: there is no variable %{name}{did_you_mean(name, catalogue.variables)}")
        if qualifier is not None and (not variable.qualifiers or qualifier not in QUALIFIERS):
            allowed = ", ".join(QUALIFIERS) if variable.qualifiers else "none"
            raise CommandRefused(f"--parms has %{name}.{qualifier}: {name} accepts the qualifiers {allowed}")


def to_run(state: State, event: str, node: NodeState) -> list[CallbackState]:
    """Return the callbacks for *event* on *node*: by ascending priority, those without one last, otherwise as added.

    With slow propagation, node number n gets registrations n events later, modulo the longest delay.
    """
    slow = state.behaviour.propagation
    here = state.happened - node.number % (slow + 1)
    present = [each for each in state.callbacks.values() if each.since < here or not slow]
    present += [each.callback for each in state.former.values() if slow and each.callback.since < here <= each.until]
    found = [each for each in present if event in each.events and _on(state, each, node)]
    return sorted(found, key=lambda each: (each.priority is None, each.priority or 0.0))


def _on(state: State, callback: CallbackState, node: NodeState) -> bool:
    return (callback.covers is None or node.number <= callback.covers) and covers(state, callback.nodes, node)
