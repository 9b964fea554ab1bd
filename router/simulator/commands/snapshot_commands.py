"""mmcrsnapshot, mmdelsnapshot and mmlssnapshot.

A new snapshot raises snapshotCreated.  mmcrsnapshot ends when the commands of that event have ended.  It is not known
whether GPFS blocks the file system that long; the longer wait is the stricter choice.
"""

import re
from collections.abc import Sequence

from ...errors import did_you_mean
from ..cluster_state import SnapshotState, State, of_file_system
from ..errors import CommandRefused
from ..events.effects import snapshot_key, snapshots_of
from ..listings import snapshot_listings as listings
from ..simulated_cluster import Cluster
from . import options
from .command_words import Command, Say, managed, one, two

_NAME = re.compile(r"[^\s/:,;*?]{1,255}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d-\d\d:\d\d(:\d\d)?")

_Wanted = tuple[str, str]
"""The fileset, empty for the whole file system, and the name."""


def mmcrsnapshot(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """Create snapshots of a file system or of filesets."""
    words, given = options.parsed(argv, {"-j", "--expiration-time"}, ())
    for each in given.get("--expiration-time", []):
        if not _MOMENT.fullmatch(each):
            raise CommandRefused(f"--expiration-time {each!r} must have the form yyyy-mm-dd-hh:mm[:ss]")
    device = managed(cluster.state, words[0]) if words else ""
    wanted = _wanted(words, given)
    state = cluster.state
    for fileset, name in wanted:
        if not _NAME.fullmatch(name):
            raise CommandRefused(f"{name!r} cannot be the name of a snapshot")
        if fileset and f"{device}/{fileset}" not in state.filesets:
            known = (each.name for each in of_file_system(state.filesets, device))
            raise CommandRefused(f"the file system {device} has no fileset {fileset!r}{did_you_mean(fileset, known)}")
        if snapshot_key(device, fileset, name) in state.snapshots:
            raise CommandRefused(f"{device} has a snapshot {fileset}:{name} already: delete it, or choose another name")
    return "".join(_make(cluster, device, fileset, name, say) for fileset, name in wanted)


def _make(cluster: Cluster, device: str, fileset: str, name: str, say: Say) -> str:
    state = cluster.state
    number = state.snapshots_taken + 1
    values = {"fsName": device, "snapshotName": name, "snapshotID": str(number)}
    if fileset:
        values["filesetName"] = fileset
    elif state.behaviour.snapshot_fileset == "global":
        values["filesetName"] = "global"
    say(f"Flushing dirty data for snapshot {fileset}:{name}...\nQuiescing all file system operations.\n")
    cluster.raise_event("snapshotCreated", values)
    return f"Snapshot {fileset}:{name} created with id {number}.\n"


def mmdelsnapshot(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """Delete snapshots of a file system or of filesets."""
    words, given = options.parsed(argv, {"-j"}, ())
    wanted = _wanted(words, given)

    def change(state: State) -> State:
        device = managed(state, words[0])
        for fileset, name in wanted:
            if snapshot_key(device, fileset, name) not in state.snapshots:
                known = (each.name for each in snapshots_of(state, device))
                raise CommandRefused(f"{device} has no snapshot {fileset}:{name}{did_you_mean(name, known)}")
        gone = {snapshot_key(device, fileset, name) for fileset, name in wanted}
        return state.model_copy(
            update={"snapshots": {key: each for key, each in state.snapshots.items() if key not in gone}}
        )

    cluster.change(change)
    return "".join(
        f"Invalidating snapshot files in {fileset}:{name}...\nDeleting files in snapshot {fileset}:{name}...\n"
        f" 100.00 % complete\nDelete snapshot {fileset}:{name} complete, err = 0\n"
        for fileset, name in wanted
    )


def _wanted(words: Sequence[str], given: dict[str, list[str]]) -> list[_Wanted]:
    """Return the snapshots to use: `[[Fileset]:]Snapshot`, for each fileset of `-j`."""
    _, snapshots = two(words, "a device and one list of snapshots")
    filesets = [each for value in given.get("-j", []) for each in value.split(",")]
    found = []
    for each in snapshots.split(","):
        fileset, sign, name = each.rpartition(":")
        if sign and filesets:
            raise CommandRefused(f"{each!r} and -j exclude each other: name the filesets once")
        found += [(one_of, name) for one_of in filesets] if filesets else [(fileset, name)]
    return found


def mmlssnapshot(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """List snapshots of a file system: all, those of the whole (`-s global`), of filesets, or those named."""
    state = cluster.state
    plain = {"-d"} if state.behaviour.short_of_rows else {"-d", "-Y"}
    words, given = options.parsed(argv, {"-s", "-j"}, plain)
    if "-s" in given and "-j" in given:
        raise CommandRefused("-s and -j exclude each other")
    device = managed(state, one(words, "one device"))
    found = [each for each in snapshots_of(state, device) if _is_meant(each, given)]
    if "-Y" in given:
        return listings.snapshots_for_programs(state, found)
    if not found:
        say(f"No snapshots in file system {device}.\n")
        return ""
    return listings.snapshots_for_people(device, found)


def _is_meant(snapshot: SnapshotState, given: dict[str, list[str]]) -> bool:
    if "-j" in given:
        return snapshot.fileset in given["-j"][0].split(",")
    which = given.get("-s", ["all"])[0]
    if which in ("all", "global"):
        return which == "all" or not snapshot.fileset
    return any(each in (snapshot.name, f"{snapshot.fileset}:{snapshot.name}") for each in which.split(","))


SNAPSHOT_COMMANDS: dict[str, tuple[Command, str]] = {
    "mmcrsnapshot": (
        mmcrsnapshot,
        (
            "mmcrsnapshot Device [[Fileset]:]Snapshot[,[[Fileset]:]Snapshot...] [-j FilesetName[,FilesetName...]]\n"
            "             [--expiration-time yyyy-mm-dd-hh:mm[:ss]]\n"
        ),
    ),
    "mmdelsnapshot": (
        mmdelsnapshot,
        "mmdelsnapshot Device [[Fileset]:]Snapshot[,[[Fileset]:]Snapshot...] [-j FilesetName[,FilesetName...]]\n",
    ),
    "mmlssnapshot": (
        mmlssnapshot,
        "mmlssnapshot Device [-d] [-s {all | global | Snapshot[,Snapshot...]} | -j Fileset[,Fileset...]] [-Y]\n",
    ),
}
