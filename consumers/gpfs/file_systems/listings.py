"""Reads what mm commands list about one file system, with `-Y`."""

from __future__ import annotations

from router.cluster.gpfs.errors import NotUnderstood
from router.cluster.gpfs.tables import Row, has_header, table

from ..site import site


def listed(*words: str, columns: tuple[str, ...], empty: str) -> list[Row]:
    """Return the rows that the command prints; *empty* is its message if there are none.

    Raises NotUnderstood if one of *columns* is missing, CommandFailed and CommandMissing.
    """
    text = site().commands.read(*words)
    if not has_header(text) and (not text.strip() or empty in text.lower()):
        return []
    try:
        return table(text, None, *columns)
    except NotUnderstood as error:
        raise NotUnderstood(f"{' '.join(words)}: {error}: this release of GPFS may not support -Y here") from error
