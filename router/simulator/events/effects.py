"""The effects of events on disks, quotas and snapshots in the state.  Pure.

If an event names a disk, an owner or a fileset that the cluster does not have, nothing changes.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from ..cluster_state import QuotaState, SnapshotState, State, of_file_system
from ..setup.new_cluster import BEGINNING

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


def _quota(state: State, values: Mapping[str, str], default_usage: Callable[[QuotaState], dict[str, int]]) -> State:
    """Set the quota fields that *values* give, or *default_usage* if they give no usage."""
    for key, quota in state.quotas.items():
        if quota.file_system == values.get("fsName") and _is_meant(quota, values):
            given = {
                field: int(values[name])
                for name, field in _QUOTA_FIELDS.items()
                if values.get(name, "").isascii() and values.get(name, "").isdigit()
            }
            usage = {} if {"block_usage", "files_usage"} & given.keys() else default_usage(quota)
            return state.model_copy(update={"quotas": state.quotas | {key: quota.model_copy(update=given | usage)}})
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
    given = values.get("snapshotID", "")
    number = int(given) if given.isascii() and given.isdigit() else state.snapshots_taken + 1
    taken = SnapshotState(name=name, file_system=device, number=number, created=moment or BEGINNING, fileset=fileset)
    return state.model_copy(
        update={"snapshots": state.snapshots | {key: taken}, "snapshots_taken": max(number, state.snapshots_taken)}
    )


def snapshot_key(file_system: str, fileset: str, name: str) -> str:
    """Return the key of a snapshot in the state; snapshots of different filesets may have the same name."""
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
"""The effect of each event on the state, before its callbacks run."""
