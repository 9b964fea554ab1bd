"""Functions to begin with: copy them into a module of your own, in a folder of `consumers.handlers`."""

from __future__ import annotations

from router import Event

from ...errors import Rejected


def warn(fsName: str, blockUsage: int, blockQuota: int | None = None, *, share: float = 1.0) -> str:  # noqa: N803 - variables are named by their source
    """Return a sentence about a quota; a usage below *share* of it is not worth one."""
    if blockQuota is not None and blockUsage < share * blockQuota:
        raise Rejected(f"{blockUsage} of {blockQuota} on {fsName} is not worth a word")
    return f"{fsName}: {blockUsage} KiB are used, the quota is {blockQuota}"


def logger(event: Event) -> str:
    """Return a line about any event."""
    return f"{event.time} {event.node} {event.name}"
