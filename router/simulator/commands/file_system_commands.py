"""mmlsfs, mmlsdisk, mmchdisk, mmlsfileset and mmdf."""

from collections.abc import Sequence
from typing import Any

from ...errors import did_you_mean
from ..cluster_state import DiskState, State, of_file_system
from ..errors import CommandRefused
from ..listings import file_system_listings as listings
from ..simulated_cluster import Cluster
from . import options
from .command_words import PROPAGATING, Command, Say, device, managed, one, two

_ALL = ("all", "all_local")
_ACTIONS: dict[str, dict[str, Any]] = {
    "start": {"availability": "up"},
    "stop": {"availability": "down"},
    "suspend": {"status": "suspended"},
    "resume": {"status": "ready"},
}
_FOR_ALL = ("start", "resume")
_SCAN = """\
Scanning file system metadata, phase 1 ...
Scan completed successfully.
Scanning user file metadata ...
 100.00 % complete
Scan completed successfully.
"""


def mmlsfs(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """List the attributes of one or all file systems: all attributes, or those whose options are given."""
    state = cluster.state
    flags = {
        flag: name
        for each in list(state.file_systems)[:1]
        for flag, name, *_ in listings.attributes(state, each)
        if flag
    }
    words, given = options.parsed(argv, (), {"-Y", *flags})
    word = one(words, "one device, or all,")
    devices = list(state.file_systems) if word in _ALL else [device(state, word)]
    if not devices:
        raise CommandRefused("no file systems were found")
    wanted = [flags[each] for each in given if each != "-Y"]
    shown = listings.file_systems_for_programs if "-Y" in given else listings.file_systems_for_people
    return shown(state, devices, wanted)


def mmlsdisk(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """List the disks of a file system: all, those named, or those that are not up and ready."""
    words, given = options.parsed(argv, {"-d"}, {"-e", "-L", "-Y"})
    if "-e" in given and "-Y" in given:
        raise CommandRefused("-e and -Y exclude each other")
    state = cluster.state
    disks = _disks(state, managed(state, one(words, "one device")), given)
    if "-e" in given:
        disks = [each for each in disks if (each.status, each.availability) != ("ready", "up")]
        if not disks:
            say("mmlsdisk: All disks up and ready\n")
            return ""
    return listings.disks_for_programs(state, disks) if "-Y" in given else listings.disks_for_people(disks)


def _disks(state: State, name: str, given: dict[str, list[str]]) -> list[DiskState]:
    """Return the disks of the file system *name*, or only those of `-d`; raises CommandRefused."""
    disks = {each.name: each for each in of_file_system(state.disks, name)}
    if "-d" not in given:
        return list(disks.values())
    wanted = [each.strip() for each in given["-d"][0].split(";") if each.strip()]
    for each in wanted:
        if each not in disks:
            raise CommandRefused(f"the file system {name} has no disk {each!r}{did_you_mean(each, disks)}")
    if not wanted:
        raise CommandRefused("-d names no disk")
    return [disks[each] for each in dict.fromkeys(wanted)]


def mmchdisk(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """Start, stop, suspend or resume disks."""
    words, given = options.parsed(argv, {"-d", "-N", "--qos"}, {"-a"})
    word, action = two(words, "a device and an action")
    if action not in _ACTIONS:
        raise CommandRefused(f"the simulator cannot {action!r} a disk: use {', '.join(_ACTIONS)}")
    if ("-a" in given) == ("-d" in given):
        raise CommandRefused("either -a or -d is needed")
    if "-a" in given and action not in _FOR_ALL:
        raise CommandRefused(f"-a is allowed with {' and '.join(_FOR_ALL)} only: name the disks to {action} with -d")

    def change(state: State) -> State:
        name = managed(state, word)
        changed = {
            f"{name}/{each.name}": each.model_copy(update=_ACTIONS[action]) for each in _disks(state, name, given)
        }
        return state.model_copy(update={"disks": state.disks | changed})

    cluster.change(change)
    if action == "start":
        say("mmnsddiscover:  Attempting to rediscover the disks.  This may take a while ...\n")
        say("mmnsddiscover:  Finished.\n")
        return _SCAN
    say(PROPAGATING.format("mmchdisk"))
    return ""


def mmlsfileset(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """List all filesets of a file system, or those named."""
    words, given = options.parsed(argv, (), {"-L", "-Y", "--afm", "-d", "-i"})
    state = cluster.state
    name = managed(state, one(words[:1], "one device"))
    filesets = {each.name: each for each in of_file_system(state.filesets, name)}
    wanted = one(words[1:], "one list of filesets").split(",") if words[1:] else list(filesets)
    for each in wanted:
        if each not in filesets:
            raise CommandRefused(f"the file system {name} has no fileset {each!r}{did_you_mean(each, filesets)}")
    found = [filesets[each] for each in wanted]
    if "-Y" in given:
        return listings.filesets_for_programs(state, found)
    return listings.filesets_for_people(name, found)


def mmdf(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """List size and free space of the pools of a file system."""
    words, given = options.parsed(argv, {"-P", "--block-size"}, {"-d", "-F", "-m", "-q", "-Y"})
    state = cluster.state
    name = managed(state, one(words, "one device"))
    disks = of_file_system(state.disks, name)
    return listings.pools_for_programs(state, disks) if "-Y" in given else listings.pools_for_people(disks)


FILE_SYSTEM_COMMANDS: dict[str, tuple[Command, str]] = {
    "mmlsfs": (mmlsfs, "mmlsfs {Device | all | all_local} [-A] [-B] [-d] [-P] [-T] ... [-Y]\n"),
    "mmlsdisk": (mmlsdisk, 'mmlsdisk Device [-d "DiskName[;DiskName...]"] [-e | -Y] [-L]\n'),
    "mmchdisk": (
        mmchdisk,
        (
            "mmchdisk Device {resume | start} -a\nor\n"
            'mmchdisk Device {suspend | resume | stop | start} -d "DiskName[;DiskName...]"\n'
        ),
    ),
    "mmdf": (mmdf, "mmdf Device [-d] [-F] [-m] [-P PoolName] [-Y]\n"),
    "mmlsfileset": (mmlsfileset, "mmlsfileset Device [FilesetName[,FilesetName...]] [-L] [--afm] [-Y]\n"),
}
