"""What an event says about disks, quotas and snapshots, put into the state.  Pure.

Where an event names a disk, an owner or a fileset that the cluster does not have, nothing changes.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from .births import BEGINNING
from .state import QuotaState, SnapshotState, State, of_file_system

_QUOTA_FIELDS = {
    "blockUsage": "block_usage",
    "blockQuota": "block_quota",
    "blockLimit": "block_limit",
    "filesUsage": "files_usage",
    "filesQuota": "files_quota",
    "filesLimit": "files_limit",
}

Effect = Callable[[State, Mapping[str, str], datetime | None], State]


def _disk_down(state: State, values: Mapping[str, str], _: datetime | None) -> State:
    failed = {f"{values.get('fsName', '')}/{each.strip()}" for each in values.get("diskName", "").split(",")}
    down = {
        key: state.disks[key].model_copy(update={"availability": "down"})
        for key in failed & state.disks.keys()
        if state.disks[key].availability != "down"
    }
    return state.model_copy(update={"disks": state.disks | down}) if down else state


def _over(state: State, values: Mapping[str, str], _: datetime | None) -> State:
    return _quota(state, values, lambda quota: {"block_usage": quota.block_quota + max(1, quota.block_quota // 100)})


def _under(state: State, values: Mapping[str, str], _: datetime | None) -> State:
    return _quota(state, values, lambda quota: {"block_usage": quota.block_quota // 2})


def _quota(state: State, values: Mapping[str, str], unsaid: Callable[[QuotaState], dict[str, int]]) -> State:
    """Set what *values* say of a quota, and *unsaid* where they say no usage."""
    for key, quota in state.quotas.items():
        if quota.file_system == values.get("fsName") and _is_meant(quota, values):
            said = {
                field: int(values[name])
                for name, field in _QUOTA_FIELDS.items()
                if values.get(name, "").isascii() and values.get(name, "").isdigit()
            }
            usage = {} if {"block_usage", "files_usage"} & said.keys() else unsaid(quota)
            return state.model_copy(update={"quotas": state.quotas | {key: quota.model_copy(update=said | usage)}})
    return state


def _is_meant(quota: QuotaState, values: Mapping[str, str]) -> bool:
    owner = values.get("quotaOwnerName") or values.get("quotaID")
    kind = values.get("quotaType", "FILESET")
    if quota.type != kind:
        return False
    if kind == "FILESET" and owner is None:
        owner = values.get("filesetName")
    return owner in (quota.name, str(quota.number))


def _snapshot_taken(state: State, values: Mapping[str, str], moment: datetime | None) -> State:
    device, name = values.get("fsName", ""), values.get("snapshotName", "")
    fileset = values.get("filesetName", "")
    fileset = "" if fileset == "global" else fileset
    key = snapshot_key(device, fileset, name)
    if device not in state.file_systems or not name or key in state.snapshots:
        return state
    said = values.get("snapshotID", "")
    number = int(said) if said.isascii() and said.isdigit() else state.snapshots_taken + 1
    taken = SnapshotState(name=name, file_system=device, number=number, created=moment or BEGINNING, fileset=fileset)
    return state.model_copy(
        update={
            "snapshots": state.snapshots | {key: taken},
            "snapshots_taken": max(number, state.snapshots_taken),
        }
    )


def snapshot_key(file_system: str, fileset: str, name: str) -> str:
    """Return where the state has a snapshot; filesets have snapshots of the same names."""
    return f"{file_system}/{fileset}:{name}"


def snapshots_of(state: State, file_system: str) -> list[SnapshotState]:
    """Return the snapshots of a file system, the oldest first."""
    return sorted(of_file_system(state.snapshots, file_system), key=lambda each: each.number)


EFFECTS: Mapping[str, Effect] = {
    "diskFailure": _disk_down,
    "softQuotaExceeded": _over,
    "usageUnderSoftQuota": _under,
    "snapshotCreated": _snapshot_taken,
}
"""What each event does to the state before its callbacks run."""
