"""mmaddcallback, mmdelcallback and mmlscallback."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import did_you_mean
from ..cluster_state import CallbackState
from ..errors import CommandRefused
from ..listings.callback_listing import callbacks_for_people, callbacks_for_programs
from ..registered_callbacks import SYSTEM
from ..simulated_cluster import Cluster
from . import options
from .command_words import PROPAGATING, Command, Say, one


def mmaddcallback(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """Register one callback, or the callbacks in a file."""
    files = [each for each in ("-S", "--spec-file") if each in argv[:1]]
    if files:
        words, given = options.parsed(argv, files, ())
        if words:
            raise CommandRefused(f"{files[0]} takes one file and nothing else: {' '.join(words)}")
        wanted = options.callbacks_of_file(_text(given[files[0]][0]))
    else:
        wanted = [options.callback_of(argv)]
    cluster.add_callbacks(*wanted)
    say(PROPAGATING.format("mmaddcallback"))
    return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandRefused(f"cannot read the file {path}: {error}") from error


def mmdelcallback(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """Remove registrations."""
    words, _ = options.parsed(argv, (), ())
    cluster.delete_callbacks(*one(words, "one list of callback identifiers").split(","))
    say(PROPAGATING.format("mmdelcallback"))
    return ""


def mmlscallback(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """List registrations: of users by default, of GPFS with `system`, both with `all`, or those named."""
    state = cluster.state
    words, given = options.parsed(argv, (), () if state.behaviour.short_of_rows else {"-Y"})
    found = _chosen(one(words or ["user"], "one list of callback identifiers"), list(state.callbacks.values()))
    if "-Y" in given:
        return callbacks_for_programs(found, state.behaviour)
    if not found:
        say("mmlscallback: No callback identifiers were found.\n")
    return callbacks_for_people(found)


def _chosen(which: str, users: list[CallbackState]) -> list[CallbackState]:
    match which:
        case "user":
            return users
        case "system":
            return list(SYSTEM)
        case "all":
            return [*users, *SYSTEM]
    known = {each.identifier: each for each in (*users, *SYSTEM)}
    chosen = []
    for identifier in which.split(","):
        if identifier not in known:
            raise CommandRefused(f"there is no callback {identifier!r}{did_you_mean(identifier, known)}")
        chosen.append(known[identifier])
    return chosen


CALLBACK_COMMANDS: dict[str, tuple[Command, str]] = {
    "mmaddcallback": (mmaddcallback, options.ADD_USAGE),
    "mmdelcallback": (mmdelcallback, "mmdelcallback CallbackIdentifier[,CallbackIdentifier...]\n"),
    "mmlscallback": (
        mmlscallback,
        "mmlscallback [-Y] [CallbackIdentifier[,CallbackIdentifier...] | user | system | all]\n",
    ),
}
