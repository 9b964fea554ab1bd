"""Example functions: copy them into your own module, in a folder of the setting `consumers.handlers`."""

from __future__ import annotations

from clusterbus import Event, Rejected


def warn(fsName: str, blockUsage: int, blockQuota: int | None = None, *, share: float = 1.0) -> str:  # noqa: N803 - variables are named by their source
    """Return a sentence about a quota; raise Rejected if the usage is below *share* of it."""
    if blockQuota is not None and blockUsage < share * blockQuota:
        raise Rejected(f"{blockUsage} of {blockQuota} KiB on {fsName} is below the threshold")
    return f"{fsName}: {blockUsage} KiB are used, the quota is {blockQuota}"


def logger(event: Event) -> str:
    """Return a line about any event."""
    return f"{event.time} {event.node} {event.name}"
