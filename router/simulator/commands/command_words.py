"""What all mm commands share: their interface, and checks of words that name a file system."""

from collections.abc import Callable, Mapping, Sequence

from ...errors import did_you_mean
from ..cluster_state import NodeState, State
from ..errors import CommandRefused
from ..setup.node_lookup import members_of
from ..simulated_cluster import Cluster

Say = Callable[[str], object]
Command = Callable[[Cluster, Sequence[str], Say], str]

PROPAGATING = (
    "{}: Propagating the cluster configuration data to all\n  affected nodes.  This is an asynchronous process.\n"
)


def device(state: State, word: str) -> str:
    """Return the file system that *word* names, with `/dev/` or without; raises CommandRefused."""
    name = word.removeprefix("/dev/")
    if name not in state.file_systems:
        hint = did_you_mean(name, state.file_systems)
        raise CommandRefused(f"there is no file system {name!r} in {state.name}{hint}")
    return name


def managed(state: State, word: str) -> str:
    """Return the file system that *word* names, which must have a manager; raises CommandRefused."""
    name = device(state, word)
    need_quorum(state)
    if state.file_systems[name] is None:
        raise CommandRefused(f"the file system {name} has no manager: no node that can be its manager is up")
    return name


def need_quorum(state: State) -> None:
    """Raise CommandRefused if the cluster has no quorum."""
    if not state.quorum:
        raise CommandRefused(
            f"{state.name} has no quorum: {len(state.up('quorum'))} quorum nodes are up, "
            f"{state.quorum_needed} are needed"
        )


def one(words: Sequence[str], what: str) -> str:
    """Return the only word of *words*; raises CommandRefused."""
    if len(words) != 1:
        raise CommandRefused(f"{what} is needed, but {len(words)} words are given")
    return words[0]


def two(words: Sequence[str], what: str) -> tuple[str, str]:
    """Return the only two words of *words*; raises CommandRefused."""
    match words:
        case [first, second]:
            return first, second
        case _:
            raise CommandRefused(f"{what} are needed, but {len(words)} words are given")


def named_nodes(state: State, given: Mapping[str, Sequence[str]]) -> list[NodeState]:
    """Return the nodes that a command acts on with the options *given*: this one, all (`-a`), or those of `-N`."""
    if "-a" in given and "-N" in given:
        raise CommandRefused("-a and -N exclude each other")
    nodes = list(state.nodes.values())
    if "-N" in given:
        return members_of(state, tuple(given["-N"][0].split(",")))
    return nodes if "-a" in given else nodes[:1]
