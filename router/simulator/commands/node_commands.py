"""mmlscluster, mmgetstate, mmlsmgr, mmlsnodeclass; mmcrnodeclass and mmdelnodeclass for a site's own classes.

The simulator's commands run on the first node of the cluster, if the node matters.
"""

from collections.abc import Sequence

from ...errors import did_you_mean
from ..cluster_state import State
from ..errors import CommandRefused
from ..listings import node_listings as listings
from ..setup.node_lookup import CLASSES, find, members_of
from ..simulated_cluster import Cluster
from . import options
from .command_words import PROPAGATING, Command, Say, device, named_nodes, need_quorum, one


def mmlscluster(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """List the cluster and its nodes."""
    words, given = options.parsed(argv, (), {"-Y"})
    if words:
        raise CommandRefused(f"unexpected words: {' '.join(words)}")
    return listings.cluster_for_programs(cluster.state) if given else listings.cluster_for_people(cluster.state)


def mmgetstate(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """List the state of the daemons: on this node, on all nodes, or on those of `-N`."""
    words, given = options.parsed(argv, {"-N"}, {"-a", "-Y", "-L", "-s", "-v"})
    if words:
        raise CommandRefused(f"unexpected words: {' '.join(words)}")
    state = cluster.state
    nodes = named_nodes(state, given)
    return listings.states_for_programs(state, nodes) if "-Y" in given else listings.states_for_people(state, nodes)


def mmlsmgr(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """List the cluster manager and the managers of all file systems, or of the one named."""
    words, given = options.parsed(argv, (), {"-Y", "-c"})
    if len(words) > 1:
        raise CommandRefused(f"at most one device is allowed, but {len(words)} words are given")
    state = cluster.state
    need_quorum(state)
    devices = [device(state, each) for each in words] or None
    if state.manager is None:
        raise CommandRefused(f"{state.name} has no cluster manager")
    if "-Y" in given:
        return listings.managers_for_programs(state, state.manager, devices)
    return listings.managers_for_people(state, state.manager)


def mmlsnodeclass(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """List node classes: the user's, the system's, or all."""
    words, given = options.parsed(argv, (), {"--user", "--system", "--all", "-Y"})
    which = [each.removeprefix("--") for each in given if each != "-Y"]
    if len(which) > 1 or (words and which):
        raise CommandRefused(f"{' '.join([*words, *given])} exclude each other: name classes, or give one kind")
    state = cluster.state
    found = listings.classes(state, which[0] if which else "all" if words else "user")
    if words:
        wanted = one(words, "one list of node classes").split(",")
        for each in wanted:
            if each not in found:
                raise CommandRefused(f"there is no node class {each!r}{did_you_mean(each, found)}")
        found = {each: found[each] for each in wanted}
    if "-Y" in given:
        return listings.classes_for_programs(state, found)
    if not found:
        say("mmlsnodeclass: There are no user-defined node classes.\n")
    return listings.classes_for_people(found)


def mmcrnodeclass(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """Create a node class."""
    words, given = options.parsed(argv, {"-N"}, ())
    name = one(words, "one name of a node class")
    if "-N" not in given:
        raise CommandRefused("option -N is missing")

    def change(state: State) -> State:
        taken = name in state.classes or name.lower() in {each.lower() for each in CLASSES}
        if taken or find(state, name) is not None or not name.isidentifier():
            raise CommandRefused(f"{name!r} cannot be a new node class: it exists, is a node, or is not a plain word")
        members = tuple(each.name for each in members_of(state, tuple(given["-N"][0].split(","))))
        return state.model_copy(update={"classes": state.classes | {name: members}})

    cluster.change(change)
    say(PROPAGATING.format("mmcrnodeclass"))
    return ""


def mmdelnodeclass(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """Remove node classes."""
    words, _ = options.parsed(argv, (), ())
    names = one(words, "one list of node classes").split(",")

    def change(state: State) -> State:
        for each in names:
            if each not in state.classes:
                raise CommandRefused(f"there is no node class {each!r}{did_you_mean(each, state.classes)}")
        kept = {name: members for name, members in state.classes.items() if name not in names}
        return state.model_copy(update={"classes": kept})

    cluster.change(change)
    say(PROPAGATING.format("mmdelnodeclass"))
    return ""


MEMBER_COMMANDS: dict[str, tuple[Command, str]] = {
    "mmlscluster": (mmlscluster, "mmlscluster [-Y]\n"),
    "mmgetstate": (mmgetstate, "mmgetstate [-L] [-s] [-v] [-Y] [-a | -N {Node[,Node...] | NodeFile | NodeClass}]\n"),
    "mmlsmgr": (mmlsmgr, "mmlsmgr [-c] [-Y] [Device]\n"),
    "mmlsnodeclass": (mmlsnodeclass, "mmlsnodeclass [-Y] [ClassName[,ClassName...] | --user | --system | --all]\n"),
    "mmcrnodeclass": (mmcrnodeclass, "mmcrnodeclass ClassName -N {Node[,Node...] | NodeFile | NodeClass}\n"),
    "mmdelnodeclass": (mmdelnodeclass, "mmdelnodeclass ClassName[,ClassName...]\n"),
}
