"""The output of mmlssnapshot.  Pure."""

from collections.abc import Sequence

from ..cluster_state import SnapshotState, State
from .table_lines import Table, aligned, text

_TABLE = Table(
    "mmlssnapshot", "", "filesystemName directory snapID status created quotas data metadata fileset snapType"
)


def snapshots_for_programs(state: State, snapshots: Sequence[SnapshotState]) -> str:
    """Return *snapshots* as `mmlssnapshot -Y` prints them."""
    rows = [
        (each.file_system, each.name, str(each.number), "Valid", _moment(each), "", "0", "0", each.fileset, "")
        for each in snapshots
    ]
    return _TABLE.lines(rows, state.behaviour)


def snapshots_for_people(device: str, snapshots: Sequence[SnapshotState]) -> str:
    """Return *snapshots* as mmlssnapshot prints them."""
    rows = [
        ("Directory", "SnapId", "Status", "Created", "Fileset"),
        *((each.name, str(each.number), "Valid", _moment(each), each.fileset) for each in snapshots),
    ]
    return text([f"Snapshots in file system {device}:", *aligned(rows)])


def _moment(snapshot: SnapshotState) -> str:
    return snapshot.created.strftime("%a %b %e %H:%M:%S %Y")
