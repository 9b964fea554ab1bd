"""Registrations: what mmaddcallback checks, in what order and where they run, how they are listed.  Pure.

Known: the rules for identifiers, the full path, `--timeout` and `--onerror` only with `--sync`, the three actions,
that GPFS has to be down everywhere for tiebreakerCheck, and the human listing's form.  Not known, and decided here:
the wording of refusals, that each node of the registration must have the command, and the header of `-Y`.
"""

import re

from ....catalogue import Catalogue
from .errors import CommandRefused, near
from .names import covers
from .parameters import QUALIFIERS, variables
from .state import CallbackState, NodeState, State

IDENTIFIER_LENGTH = 255

_FORBIDDEN = re.compile(r"[:;, \t]")
_RESERVED = ("gpfs", "mm")

# The callbacks that GPFS registers for itself (seen in 4.2.3); the simulator lists them and never runs them.
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
    """Return *callback* as it is stored, its events under the catalogue's names; raises CommandRefused."""
    _check_identifier(callback.identifier)
    if callback.identifier in state.callbacks:
        raise CommandRefused(f"callback identifier {callback.identifier!r} exists already: delete it, or take another")
    if not callback.command.startswith("/"):
        raise CommandRefused(f"command {callback.command!r} is no full path: it has to begin with /")
    if not callback.events:
        raise CommandRefused("no event is given: name at least one with --event")
    for option, value in (("--timeout", callback.timeout), ("--onerror", callback.on_error)):
        if value is not None and not callback.sync:
            raise CommandRefused(f"{option} {value} goes with --sync only: add --sync, or leave it out")
    _check_text(callback)
    events = tuple(dict.fromkeys(_event(each, state, catalogue) for each in callback.events))
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
            raise CommandRefused(f"callback identifier {identifier!r} begins with {start!r}: that is reserved for GPFS")


def _check_text(callback: CallbackState) -> None:
    """Refuse what the state cannot hold, or would break a listing's lines."""
    texts = {"identifier": callback.identifier, "--command": callback.command, "--parms": callback.parms}
    for what, value in texts.items():
        if not value.isprintable():
            raise CommandRefused(f"{what} {value!r} has characters in it that cannot be printed: leave them out")


def _event(name: str, state: State, catalogue: Catalogue) -> str:
    found = catalogue.get(name)
    if found is None or (found.name != name and state.behaviour.event_case == "exact"):
        raise CommandRefused(f"there is no event {name!r}{near(name, catalogue.events)}")
    return found.name


def check_down(state: State, identifier: str) -> None:
    """Refuse to touch the callback *identifier*, which has tiebreakerCheck, while GPFS is up anywhere."""
    if running := state.up():
        raise CommandRefused(
            f"callback {identifier!r} has the event tiebreakerCheck: GPFS has to be down on all nodes, "
            f"and is up on {len(running)}, such as {running[0].name}"
        )


def _check_variables(callback: CallbackState, state: State, catalogue: Catalogue) -> None:
    if state.behaviour.unknown_variable == "literal":
        return
    for name, qualifier in variables(callback.parms, state.behaviour):
        variable = catalogue.variables.get(name)
        if variable is None:
            raise CommandRefused(f"--parms: there is no variable %{name}{near(name, catalogue.variables)}")
        if qualifier is not None and (not variable.qualifiers or qualifier not in QUALIFIERS):
            allowed = ", ".join(QUALIFIERS) if variable.qualifiers else "none"
            raise CommandRefused(f"--parms has %{name}.{qualifier}: {name} takes the qualifiers {allowed}")


def to_run(state: State, event: str, node: NodeState) -> list[CallbackState]:
    """Return what runs for *event* on *node*: by priority, smaller first, those without one last, else as added."""
    found = [each for each in state.callbacks.values() if event in each.events and covers(state, each.nodes, node)]
    return sorted(found, key=lambda each: (each.priority is None, each.priority or 0.0))
