"""The output of mmlsquota and mmrepquota.  Pure."""

from collections.abc import Sequence

from ..cluster_state import QuotaState, State
from .table_lines import Table, aligned, text

_COLUMNS = (
    "filesystemName quotaType id name blockUsage blockQuota blockLimit blockInDoubt blockGrace "
    "filesUsage filesQuota filesLimit filesInDoubt filesGrace remarks quota defQuota fid filesetname"
)
_LISTED = Table("mmlsquota", "", _COLUMNS)
_REPORTED = Table("mmrepquota", "", _COLUMNS)
_GRACE = "7 days"


def quotas_for_programs(state: State, quotas: Sequence[QuotaState]) -> str:
    """Return *quotas* as `mmlsquota -Y` prints them: blocks in KB."""
    return _LISTED.lines([_quota(each) for each in quotas], state.behaviour)


def report_for_programs(state: State, quotas: Sequence[QuotaState]) -> str:
    """Return *quotas* as `mmrepquota -Y` prints them: a banner and a header for each type of each file system."""
    parts = []
    for kind in ("USR", "GRP", "FILESET"):
        for device in dict.fromkeys(each.file_system for each in quotas):
            found = [each for each in quotas if each.type == kind and each.file_system == device]
            if found:
                parts.append(f"*** Report for {kind} quotas on {device}\n")
                parts.append(_REPORTED.lines([_quota(each) for each in found], state.behaviour))
    return "".join(parts)


def _quota(quota: QuotaState) -> tuple[str, ...]:
    return (
        *(quota.file_system, quota.type, str(quota.number), quota.name),
        *(str(quota.block_usage), str(quota.block_quota), str(quota.block_limit), "0"),
        _grace(quota.block_usage, quota.block_quota, quota.block_limit),
        *(str(quota.files_usage), str(quota.files_quota), str(quota.files_limit), "0"),
        _grace(quota.files_usage, quota.files_quota, quota.files_limit),
        *("e" if quota.block_quota or quota.files_quota else "i", "on", "off", "", ""),
    )


def _grace(usage: int, quota: int, limit: int) -> str:
    if not quota or usage <= quota:
        return "none"
    return "expired" if limit and usage >= limit else _GRACE


def quotas_for_people(quotas: Sequence[QuotaState]) -> str:
    """Return *quotas* as mmlsquota prints them (recalled)."""
    title = ("Filesystem", "type", "name", "KB", "quota", "limit", "grace", "|", "files", "quota", "limit", "grace")
    rows: list[tuple[str, ...]] = [title]
    for each in quotas:
        cells = _quota(each)
        rows.append((cells[0], cells[1], cells[3], *cells[4:7], cells[8], "|", *cells[9:12], cells[13]))
    return text(aligned(rows))
