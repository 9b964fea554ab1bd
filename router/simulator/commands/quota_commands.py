"""mmlsquota and mmrepquota."""

from collections.abc import Sequence

from ...errors import did_you_mean
from ..cluster_state import QuotaState, QuotaType, State
from ..errors import CommandRefused
from ..listings import quota_listings as listings
from ..simulated_cluster import Cluster
from . import options
from .command_words import Command, Say, managed, need_quorum, one

_KINDS: dict[str, QuotaType] = {"-u": "USR", "-g": "GRP", "-j": "FILESET"}
_CALLER = "root"


def mmlsquota(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """List the quota of a user, group or fileset (by default the caller's), in some file systems or in all."""
    valued = {"-u", "-g", "-j", "-C", "--block-size"}
    words, given = options.parsed(argv, valued, {"-v", "-q", "-e", "-Y"})
    who = [each for each in _KINDS if each in given]
    if len(who) > 1:
        raise CommandRefused(f"{' and '.join(who)} exclude each other")
    option = who[0] if who else "-u"
    name = given[option][0] if who else _CALLER
    state = cluster.state
    need_quorum(state)
    if option == "-j":
        words = [one(words, "one device")]
    # Without per-fileset quotas, a fileset after the device has no meaning (recalled).
    devices = [managed(state, each.partition(":")[0]) for each in words] or list(state.file_systems)
    found = [
        each
        for each in _quotas(state, devices)
        if each.type == _KINDS[option] and name in (each.name, str(each.number))
    ]
    if who and not found:
        known = {each.name for each in _quotas(state, devices) if each.type == _KINDS[option]}
        raise CommandRefused(f"{option} {name!r} does not exist{did_you_mean(name, known)}")
    return listings.quotas_for_programs(state, found) if "-Y" in given else listings.quotas_for_people(found)


def mmrepquota(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """List the quotas of the named file systems or of all (`-a`), of all types or of some."""
    words, given = options.parsed(argv, (), {"-u", "-g", "-j", "-a", "-n", "-v", "-q", "-e", "-t", "-Y"})
    if bool(words) == ("-a" in given):
        raise CommandRefused("give devices, or -a for all")
    state = cluster.state
    need_quorum(state)
    devices = [managed(state, each) for each in words] or list(state.file_systems)
    kinds = [kind for option, kind in _KINDS.items() if option in given] or list(_KINDS.values())
    found = [each for each in _quotas(state, devices) if each.type in kinds]
    return listings.report_for_programs(state, found) if "-Y" in given else listings.quotas_for_people(found)


def _quotas(state: State, devices: Sequence[str]) -> list[QuotaState]:
    return [each for each in state.quotas.values() if each.file_system in devices]


QUOTA_COMMANDS: dict[str, tuple[Command, str]] = {
    "mmlsquota": (
        mmlsquota,
        (
            "mmlsquota [-u User | -g Group] [-v | -q] [-e] [-C ClusterName] [-Y] [--block-size {BlockSize | auto}]\n"
            "          [Device[:Fileset] ...]\nor\n"
            "mmlsquota -j Fileset [-v | -q] [-e] [-Y] [--block-size {BlockSize | auto}] Device\n"
        ),
    ),
    "mmrepquota": (mmrepquota, "mmrepquota [-u] [-g] [-j] [-e] [-n] [-q] [-t] [-v] [-Y] {Device ... | -a}\n"),
}
