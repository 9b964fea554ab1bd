"""The output of mmlsfs, mmlsdisk and mmlsfileset.  Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from ..cluster_state import DiskState, FilesetState, State, of_file_system
from .table_lines import Table, aligned, text

_FS_COLUMNS = "deviceName fieldName data remarks"
_DISK = Table(
    "mmlsdisk",
    "",
    "nsdName driverType sectorSize failureGroup metadata data status availability diskID storagePool "
    "remarks numQuorumDisks readQuorumValue writeQuorumValue diskSizeKB diskUID thinDiskType "
    "replicaType",
)
# Seen in public samples, including `reserved` in the middle.
_FILESET = Table(
    "mmlsfileset",
    "",
    "filesystemName filesetName id rootInode status path parentId created inodes dataInKB comment "
    "filesetMode afmTarget afmState afmMode afmFileLookupRefreshInterval afmFileOpenRefreshInterval "
    "afmDirLookupRefreshInterval afmDirOpenRefreshInterval afmAsyncDelay afmNeedsRecovery "
    "afmExpirationTimeout afmRPO afmLastPSnapId inodeSpace isInodeSpaceOwner maxInodes allocInodes "
    "inodeSpaceMask afmShowHomeSnapshots afmNumReadThreads reserved afmReadBufferSize "
    "afmWriteBufferSize snapId freeInodes",
)
# Recalled, not recorded.
_POOL = Table(
    "mmdf", "poolTotal", "poolName poolSize freeBlocks freeBlocksPct freeFragments freeFragmentsPct maxDiskSize"
)
_QUORUM_DISKS = 3
_FREE = 0.25
"""The free share of each pool."""


def file_systems_for_programs(state: State, devices: Iterable[str], wanted: Sequence[str]) -> str:
    """Return the attributes of *devices* as `mmlsfs -Y` prints them, one in each row; only those *wanted*, if any.

    A public sample has the command name `fs`, which is used with ragged rows.
    """
    table = Table("fs" if state.behaviour.rows == "ragged" else "mmlsfs", "", _FS_COLUMNS)
    rows = [
        (device, name, data, "")
        for device in devices
        for _, name, data, _ in attributes(state, device)
        if not wanted or name in wanted
    ]
    return table.lines(rows, state.behaviour)


def attributes(state: State, device: str) -> list[tuple[str, str, str, str]]:
    """Return the attributes of a file system: flag, name, value, description."""
    disks = of_file_system(state.disks, device)
    pools = ";".join(dict.fromkeys(each.pool for each in disks))
    made = next((each.created for each in of_file_system(state.filesets, device)), None)
    return [
        ("-f", "minFragmentSize", "8192", "Minimum fragment (subblock) size in bytes"),
        ("-i", "inodeSize", "4096", "Inode size in bytes"),
        ("-I", "indirectBlockSize", "32768", "Indirect block size in bytes"),
        ("-m", "defaultMetadataReplicas", "2", "Default number of metadata replicas"),
        ("-M", "maxMetadataReplicas", "2", "Maximum number of metadata replicas"),
        ("-r", "defaultDataReplicas", "1", "Default number of data replicas"),
        ("-R", "maxDataReplicas", "2", "Maximum number of data replicas"),
        ("-j", "blockAllocationType", "scatter", "Block allocation type"),
        ("-D", "fileLockingSemantics", "nfs4", "File locking semantics in effect"),
        ("-k", "ACLSemantics", "all", "ACL semantics in effect"),
        ("-n", "numNodes", str(len(state.nodes)), "Estimated number of nodes that will mount file system"),
        ("-B", "blockSize", "4194304", "Block size"),
        ("-Q", "quotasAccountingEnabled", "user;group;fileset", "Quotas accounting enabled"),
        ("", "quotasEnforced", "user;group;fileset", "Quotas enforced"),
        ("", "defaultQuotasEnabled", "none", "Default quotas enabled"),
        ("--perfileset-quota", "perfilesetQuotas", "no", "Per-fileset quota enforcement"),
        ("--filesetdf", "filesetdfEnabled", "no", "Fileset df enabled?"),
        ("-V", "filesystemVersion", "27.00 (5.1.3.0)", "File system version"),
        ("--create-time", "create-time", _moment(made), "File system creation time"),
        ("-z", "DMAPIEnabled", "no", "Is DMAPI enabled?"),
        ("-P", "storagePools", pools, "Disk storage pools in file system"),
        ("-d", "disks", ";".join(each.name for each in disks), "Disks in file system"),
        ("-A", "automaticMountOption", "yes", "Automatic mount option"),
        ("-o", "additionalMountOptions", "none", "Additional mount options"),
        ("-T", "defaultMountPoint", f"/gpfs/{device}", "Default mount point"),
        ("--mount-priority", "mountPriority", "0", "Mount priority"),
    ]


def file_systems_for_people(state: State, devices: Iterable[str], wanted: Sequence[str]) -> str:
    """Return the attributes of *devices* as mmlsfs prints them (recalled)."""
    lines = []
    for device in devices:
        rows = [("flag", "value", "description"), ("-------------------", "-" * 24, "-" * 35)]
        for flag, name, data, meaning in attributes(state, device):
            if not wanted or name in wanted:
                rows.append((flag, data, meaning))
        lines += ["", f"File system attributes for /dev/{device}:", "=" * 41, *aligned(rows)]
    return text(lines)


def disks_for_programs(state: State, disks: Sequence[DiskState]) -> str:
    """Return *disks* as `mmlsdisk -Y` prints them."""
    return _DISK.lines([_disk(each) for each in disks], state.behaviour)


def _disk(disk: DiskState) -> tuple[str, ...]:
    quorum = str(_QUORUM_DISKS)
    return (
        *(disk.name, "nsd", "512", str(disk.failure_group), _yes(disk.metadata), _yes(disk.data)),
        *(disk.status, disk.availability, str(disk.number), disk.pool, "desc" if disk.number <= _QUORUM_DISKS else ""),
        *(quorum, "2", "2", str(disk.size_kb), disk.uid, "", ""),
    )


def disks_for_people(disks: Sequence[DiskState]) -> str:
    """Return *disks* as mmlsdisk prints them (recalled)."""
    rows: list[tuple[str, ...]] = [
        ("disk", "driver", "sector", "failure", "holds", "holds", "", "", "storage"),
        ("name", "type", "size", "group", "metadata", "data", "status", "availability", "pool"),
        tuple("-" * width for width in (12, 8, 6, 11, 8, 5, 13, 12, 12)),
    ]
    for each in disks:
        row = _disk(each)
        rows.append((*row[:8], row[9]))
    return text(aligned(rows))


def filesets_for_programs(state: State, filesets: Sequence[FilesetState]) -> str:
    """Return *filesets* as `mmlsfileset -Y` prints them."""
    return _FILESET.lines([_fileset(each) for each in filesets], state.behaviour)


def _fileset(fileset: FilesetState) -> tuple[str, ...]:
    parent = "--" if fileset.parent is None else str(fileset.parent)
    afm = (fileset.home, "Active", "read-only") if fileset.home else ("-", "-", "-")
    numbers = (str(fileset.inode_space), "1" if fileset.parent is None else "0", str(fileset.most_inodes))
    return (
        *(fileset.file_system, fileset.name, str(fileset.number), str(fileset.root_inode), "Linked", fileset.path),
        *(parent, _moment(fileset.created), "-", "-", fileset.comment, "on" if fileset.home else "off", *afm),
        *(["-"] * 9),
        *numbers,
        *("0", "0", "-", "-", "-", "-", "-", "0", "0"),
    )


def filesets_for_people(device: str, filesets: Sequence[FilesetState]) -> str:
    """Return *filesets* as mmlsfileset prints them (recalled)."""
    rows = [("Name", "Status", "Path"), *((each.name, "Linked", each.path) for each in filesets)]
    return text([f"Filesets in file system '{device}':", *aligned(rows)])


def pools_for_programs(state: State, disks: Sequence[DiskState]) -> str:
    """Return the pools of *disks* as `mmdf -Y` prints them, in KB."""
    rows = []
    for pool in dict.fromkeys(each.pool for each in disks):
        size = sum(each.size_kb for each in disks if each.pool == pool)
        rows.append((pool, str(size), str(int(size * _FREE)), str(int(100 * _FREE)), "0", "0", str(size)))
    return _POOL.lines(rows, state.behaviour)


def pools_for_people(disks: Sequence[DiskState]) -> str:
    """Return the pools of *disks* as mmdf prints them (recalled)."""
    rows: list[tuple[str, ...]] = [("pool", "size in KB", "free in KB")]
    for pool in dict.fromkeys(each.pool for each in disks):
        size = sum(each.size_kb for each in disks if each.pool == pool)
        rows.append((pool, str(size), str(int(size * _FREE))))
    return text(aligned(rows))


def _yes(truth: bool) -> str:  # noqa: FBT001 - converts a truth value
    return "Yes" if truth else "No"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%a %b %e %H:%M:%S %Y")
