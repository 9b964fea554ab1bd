"""What happens in the demo's minute: acts, as data.  Each raises events, or breaks something."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

NODES = 12
LEAVER = "cl04"


@dataclass(frozen=True, slots=True)
class Callback:
    """One event that the simulated cluster raises; *node* where it has to happen on that one."""

    event: str
    variables: Mapping[str, str] = field(default_factory=dict)
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """A *title* to show, and the *callbacks* in it, each followed by a pause of *pause* seconds."""

    title: str
    callbacks: tuple[Callback, ...]
    pause: float = 0.4
    broker: Literal["stop", "start"] | None = None
    """What is done to the broker before the callbacks."""


def story(nodes: tuple[str, ...]) -> tuple[Act, ...]:
    """Return the acts for a cluster of *nodes*."""
    low = Callback("lowDiskSpace", {"fsName": "gpfs1", "storagePool": "data"})
    quota = {"fsName": "gpfs1", "quotaType": "FILESET", "blockQuota": "1048576", "blockLimit": "2097152"}
    return (
        Act("the nodes join", (Callback("nodeJoin", {"eventNode": ",".join(nodes)}),)),
        Act("the daemons start", tuple(Callback("startup", node=each) for each in nodes), 0.1),
        Act("gpfs1 is mounted everywhere", tuple(Callback("mount", {"fsName": "gpfs1"}, each) for each in nodes), 0.1),
        Act(
            "two filesets cross their soft quota",
            (
                Callback("softQuotaExceeded", {**quota, "filesetName": "projects", "blockUsage": "1050000"}),
                Callback("softQuotaExceeded", {**quota, "filesetName": "scratch", "blockUsage": "1300000"}),
            ),
            1.5,
        ),
        Act(
            "a disk fails; starting it works the third time",
            (Callback("diskFailure", {"fsName": "gpfs1", "diskName": "nsd3"}),),
            1.5,
        ),
        Act("space runs low, again and again", (low,) * 5, 1.2),
        Act("the broker stops; the cluster does not wait for it", (low,) * 5, 1.2, broker="stop"),
        Act("the broker is back", (low,) * 3, 1.2, broker="start"),
        Act(f"{LEAVER} leaves, and every other node reports it", (Callback("nodeLeave", {"eventNode": LEAVER}),), 2),
        Act(
            "a pool is full; its script cannot help",
            (Callback("noDiskSpace", {"fsName": "gpfs1", "storagePool": "system"}),),
            2,
        ),
        Act(f"{LEAVER} comes back", (Callback("nodeJoin", {"eventNode": LEAVER}), Callback("startup", node=LEAVER)), 1),
        Act(
            "the filesets are tidied up",
            tuple(
                Callback("usageUnderSoftQuota", {**quota, "filesetName": each, "blockUsage": "900000"})
                for each in ("projects", "scratch")
            ),
            1,
        ),
    )


HANDLERS: Mapping[str, Callable[[str], str]] = {
    "open-ticket": lambda stage: f'#!/bin/sh\necho "fileset $1 uses $2 KB" >>"{stage}/tickets"\n',
    "restart-disk": lambda stage: (
        "#!/bin/sh\n"
        'if [ "$CLUSTERBUS_ATTEMPT" -lt 3 ]; then echo "$2: still not ready" >&2; exit 1; fi\n'
        f'echo "started $2 of $1" >>"{stage}/disks"\n'
    ),
    "migrate": lambda stage: (
        "#!/bin/sh\n"
        'if [ "$2" = system ]; then echo "the system pool has nowhere to go" >&2; exit 1; fi\n'
        f'echo "migrated $1 $2" >>"{stage}/migrations"\n'
    ),
    "page": lambda stage: f'#!/bin/sh\necho "node $1 left" >>"{stage}/pages"\n',
}
"""The commands of the demo's subscriptions, written into its folder."""
