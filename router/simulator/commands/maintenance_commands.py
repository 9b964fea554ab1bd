"""mmstartup, mmshutdown, mmchfileset, mmsetquota, mmapplypolicy, mmbackup and gpfs.snap, as far as actions use them.

Their options and messages are recalled; what they write beside the state, such as archives, is decided here.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import did_you_mean
from ..cluster_state import State
from ..errors import CommandRefused
from ..events.effects import snapshot_key
from ..setup.node_lookup import members_of
from ..simulated_cluster import Cluster
from . import options
from .command_words import PROPAGATING, Command, Say, managed, named_nodes, one, two

_INODES = re.compile(r"([1-9][0-9]*)(?::([1-9][0-9]*))?")
_LIMITS = re.compile(r"([0-9]+)([KMGTP]?):([0-9]+)([KMGTP]?)")
_UNITS = {"": 1, "K": 1, "M": 1024, "G": 1024**2, "T": 1024**3, "P": 1024**4}
_KINDS = ("incremental", "full")
_TESTS = ("yes", "defer", "prepare", "test")


def mmstartup(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """Start GPFS on this node, on all nodes, or on those of `-N`."""
    return _daemons(cluster, argv, "startup", "Starting GPFS ...")


def mmshutdown(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """Stop GPFS on this node, on all nodes, or on those of `-N`."""
    return _daemons(cluster, argv, "shutdown", "Shutting down GPFS daemons")


def _daemons(cluster: Cluster, argv: Sequence[str], event: str, message: str) -> str:
    words, given = options.parsed(argv, {"-N"}, {"-a"})
    if words:
        raise CommandRefused(f"unexpected words: {' '.join(words)}")
    nodes = named_nodes(cluster.state, given)
    for each in nodes:
        if each.up is (event == "shutdown"):
            cluster.raise_event(event, {}, each.name)
    return "".join(f"{each.name}:  {message}\n" for each in nodes)


def mmchfileset(cluster: Cluster, argv: Sequence[str], say: Say) -> str:
    """Change the most inodes of an independent fileset."""
    words, given = options.parsed(argv, {"--inode-limit"}, ())
    word, fileset = two(words, "a device and a fileset")
    limit = _INODES.fullmatch(given.get("--inode-limit", [""])[0])
    if limit is None:
        raise CommandRefused("option --inode-limit MaxNumInodes[:NumInodesToPreallocate] is needed")

    def change(state: State) -> State:
        name = managed(state, word)
        found = state.filesets.get(f"{name}/{fileset}")
        if found is None:
            known = [each.name for each in state.filesets.values() if each.file_system == name]
            raise CommandRefused(f"the file system {name} has no fileset {fileset!r}{did_you_mean(fileset, known)}")
        changed = found.model_copy(update={"most_inodes": int(limit[1])})
        return state.model_copy(update={"filesets": state.filesets | {f"{name}/{fileset}": changed}})

    cluster.change(change)
    say(PROPAGATING.format("mmchfileset"))
    return f"Set maxInodes for inode space to {limit[1]}\nFileset {fileset} changed.\n"


def mmsetquota(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """Set the block quota of a fileset: `Device:FilesetName --block Soft:Hard`."""
    words, given = options.parsed(argv, {"--block"}, ())
    word, _sign, fileset = one(words, "Device:FilesetName").partition(":")
    limits = _LIMITS.fullmatch(given.get("--block", [""])[0].upper())
    if limits is None:
        raise CommandRefused("option --block SoftLimit:HardLimit is needed")
    soft, hard = (int(limits[at]) * _UNITS[limits[at + 1]] for at in (1, 3))

    def change(state: State) -> State:
        name = managed(state, word)
        for key, quota in state.quotas.items():
            if (quota.file_system, quota.type, quota.name) == (name, "FILESET", fileset):
                changed = quota.model_copy(update={"block_quota": soft, "block_limit": hard})
                return state.model_copy(update={"quotas": state.quotas | {key: changed}})
        raise CommandRefused(f"the file system {name} has no fileset {fileset!r}")

    cluster.change(change)
    return ""


def mmapplypolicy(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """Read a policy file, and say what it would choose; no file of a simulated cluster moves."""
    words, given = options.parsed(argv, {"-P", "-I", "-N"}, ())
    name = managed(cluster.state, one(words, "one device"))
    what = given.get("-I", ["yes"])[0]
    if what not in _TESTS:
        raise CommandRefused(f"-I {what!r} is not one of {', '.join(_TESTS)}")
    if "-N" in given:
        members_of(cluster.state, tuple(given["-N"][0].split(",")))
    try:
        rules = Path(given.get("-P", [""])[0]).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandRefused(f"the policy file cannot be read: {error.strerror}") from error
    count = len(re.findall(r"^\s*RULE\b", rules, re.IGNORECASE | re.MULTILINE))
    if not count:
        raise CommandRefused("the policy file has no rules")
    return f"[I] GPFS Current Data Pool Utilization of {name} in KB and %\n[I] Parsed {count} policy rules.\n"


def mmbackup(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """Say what would be backed up, from the snapshot of `-S`."""
    words, given = options.parsed(argv, {"-t", "-S"}, ())
    name = managed(cluster.state, one(words, "one device"))
    kind = given.get("-t", ["incremental"])[0]
    if kind not in _KINDS:
        raise CommandRefused(f"-t {kind!r} is not one of {', '.join(_KINDS)}")
    snapshot = given.get("-S", [""])[0]
    if snapshot and snapshot_key(name, "", snapshot) not in cluster.state.snapshots:
        raise CommandRefused(f"the file system {name} has no snapshot {snapshot!r}")
    return (
        f"mmbackup: Backup of /{name} begins with type {kind}.\nmmbackup: Backup of /{name} completed successfully.\n"
    )


def gpfs_snap(cluster: Cluster, argv: Sequence[str], _: Say) -> str:
    """Collect an archive of this node, or of those of `-N`, into the folder of `-d`."""
    words, given = options.parsed(argv, {"-N", "-d", "--limit-large-files"}, ())
    if words:
        raise CommandRefused(f"unexpected words: {' '.join(words)}")
    nodes = list(cluster.state.nodes.values())[:1]
    if "-N" in given:
        nodes = members_of(cluster.state, tuple(given["-N"][0].split(",")))
    folder = Path(given.get("-d", ["/tmp/gpfs.snapOut"])[0])  # noqa: S108 - where gpfs.snap puts it
    archive = folder / f"all.{'-'.join(each.name for each in nodes)[:100]}.tar"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        archive.write_text("".join(f"{each.full_name}\n" for each in nodes), encoding="utf-8")
    except OSError as error:
        raise CommandRefused(f"cannot write to {folder}: {error.strerror}") from error
    return f"gpfs.snap completed. Output is in {archive}\n"


MAINTENANCE_COMMANDS: dict[str, tuple[Command, str]] = {
    "mmstartup": (mmstartup, "mmstartup [-a | -N {Node[,Node...] | NodeFile | NodeClass}]\n"),
    "mmshutdown": (mmshutdown, "mmshutdown [-a | -N {Node[,Node...] | NodeFile | NodeClass}]\n"),
    "mmchfileset": (
        mmchfileset,
        "mmchfileset Device FilesetName --inode-limit MaxNumInodes[:NumInodesToPreallocate]\n",
    ),
    "mmsetquota": (mmsetquota, "mmsetquota Device:FilesetName --block SoftLimit:HardLimit\n"),
    "mmapplypolicy": (
        mmapplypolicy,
        "mmapplypolicy Device -P PolicyFile [-I {yes | defer | prepare | test}] [-N Node[,Node...]]\n",
    ),
    "mmbackup": (mmbackup, "mmbackup Device [-t {full | incremental}] [-S SnapshotName]\n"),
    "gpfs.snap": (gpfs_snap, "gpfs.snap [-N {Node[,Node...] | NodeFile | NodeClass}] [-d OutputDirectory]\n"),
}
