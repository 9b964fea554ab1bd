"""Reads how full pools are, and how much of their quotas filesets use.  Pure."""

from __future__ import annotations

from ...database import plain_text
from ..gpfs.tables import Row, table
from .parts import Answer

MOST = 2000
"""The maximum number of quotas of a file system: they change all the time, and each change is kept."""

_LONGEST = 1000


def pools(printed: str) -> Answer:
    """Read mmdf: size and free space of each pool of a file system, in KB, and the share in use, in percent."""
    found = {}
    for row in table(printed, "poolTotal", "poolName", "poolSize", "freeBlocks"):
        size, free = _number(row, "poolSize"), _number(row, "freeBlocks")
        used = None if not size or free is None else round(100 * (size - free) / size, 1)
        found[_text(row, "poolName")] = {"size": size, "free": free, "used": used}
    return Answer(found)


def quotas(printed: str) -> Answer:
    """Read mmrepquota: of each fileset with a limit, what it uses and may use; blocks in KB."""
    found: dict[str, dict[str, object]] = {}
    limited = 0
    for row in table(printed, None, "quotaType", "name", "blockUsage", "blockQuota", "filesUsage"):
        limits = [_number(row, each) for each in ("blockQuota", "blockLimit", "filesQuota", "filesLimit")]
        if row.values.get("quotaType", "").upper() != "FILESET" or not any(limits):
            continue
        limited += 1
        if len(found) < MOST:
            found[_text(row, "name")] = {
                "block_usage": _number(row, "blockUsage"),
                "block_quota": limits[0],
                "block_limit": limits[1],
                "files_usage": _number(row, "filesUsage"),
                "files_quota": limits[2],
                "files_limit": limits[3],
                "block_grace": _text(row, "blockGrace") or None,
                "files_grace": _text(row, "filesGrace") or None,
            }
    reason = f"{limited} filesets have quotas, and the limit is {MOST}" if limited > MOST else ""
    return Answer(found, reason)


def _text(row: Row, column: str) -> str:
    return plain_text(row.values.get(column, "")[:_LONGEST])


def _number(row: Row, column: str) -> int | None:
    value = row.values.get(column, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 18 else None  # noqa: PLR2004 - 64 bits
