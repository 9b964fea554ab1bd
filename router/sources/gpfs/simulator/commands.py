"""The mm commands on a simulated cluster: each takes its words and says what it prints.

A command returns what goes to stdout; what it says to people beside that goes to *say* (stderr, recalled).  Refusals
are raised as CommandRefused; that the exit code is then 1 and the usage follows is recalled too.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from . import listings, options
from .callbacks import SYSTEM
from .cluster import Cluster
from .errors import CommandRefused, near
from .state import CallbackState

Say = Callable[[str], object]

_PROPAGATING = (
    "{}: Propagating the cluster configuration data to all\n  affected nodes.  This is an asynchronous process.\n"
)


def mmaddcallback(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """Register one callback, or those of a file."""
    files = [each for each in ("-S", "--spec-file") if each in argv[:1]]
    if files:
        _, given = options.taken_apart(argv, files, ())
        wanted = options.callbacks_of_file(_text(given[files[0]][0]))
    else:
        wanted = [options.callback_of(argv)]
    cluster.add_callbacks(*wanted)
    say(_PROPAGATING.format("mmaddcallback"))
    return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandRefused(f"cannot read the file {path}: {error}") from error


def mmdelcallback(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """Remove registrations."""
    words, _ = options.taken_apart(argv, (), ())
    if len(words) != 1:
        raise CommandRefused(f"one list of callback identifiers is needed, {len(words)} words are given")
    cluster.delete_callbacks(*words[0].split(","))
    say(_PROPAGATING.format("mmdelcallback"))
    return ""


def mmlscallback(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """List registrations: users' by default, GPFS's own with `system`, both with `all`, else those that are named."""
    words, given = options.taken_apart(argv, (), {"-Y"})
    if len(words) > 1:
        raise CommandRefused(f"one list of callback identifiers is needed, {len(words)} words are given")
    state = cluster.state
    found = _chosen(words[0] if words else "user", list(state.callbacks.values()))
    if "-Y" in given:
        return listings.callbacks_for_programs(found, encode_percent=state.behaviour.percent == "encoded")
    if not found:
        say("mmlscallback: No callback identifiers were found.\n")
    return listings.callbacks_for_people(found)


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
            raise CommandRefused(f"there is no callback {identifier!r}{near(identifier, known)}")
        chosen.append(known[identifier])
    return chosen


def mmlscluster(cluster: Cluster, argv: Sequence[str], say: Say) -> str:  # noqa: ARG001 - as the others
    """List the cluster and its nodes."""
    words, given = options.taken_apart(argv, (), {"-Y"})
    if words:
        raise CommandRefused(f"no words are expected: {' '.join(words)}")
    return listings.cluster_for_programs(cluster.state) if given else listings.cluster_for_people(cluster.state)


Command = Callable[[Cluster, Sequence[str], Say], str]

COMMANDS: dict[str, tuple[Command, str]] = {
    "mmaddcallback": (mmaddcallback, options.ADD_USAGE),
    "mmdelcallback": (mmdelcallback, options.DELETE_USAGE),
    "mmlscallback": (mmlscallback, options.LIST_USAGE),
    "mmlscluster": (mmlscluster, options.CLUSTER_USAGE),
}
