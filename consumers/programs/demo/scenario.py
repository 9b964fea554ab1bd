"""What happens in the demo, step by step: each step raises events, or breaks something."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

NODES = 12
LEAVING = "cl04"


@dataclass(frozen=True, slots=True)
class Callback:
    """One event that the simulated cluster raises; *node* if it must happen on a certain node."""

    event: str
    variables: Mapping[str, str] = field(default_factory=dict)
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A *title* to show, and *callbacks* to raise, each followed by a pause of *pause* seconds."""

    title: str
    callbacks: tuple[Callback, ...]
    pause: float = 0.4
    broker: Literal["stop", "start"] | None = None
    """What to do with the broker before the callbacks."""


def steps(nodes: tuple[str, ...]) -> tuple[Step, ...]:
    """Return the steps for a cluster of *nodes*."""
    back = (Callback("nodeJoin", {"eventNode": LEAVING}), Callback("startup", node=LEAVING))
    low = Callback("lowDiskSpace", {"fsName": "gpfs1", "storagePool": "data"})
    quota = {"fsName": "gpfs1", "quotaType": "FILESET", "blockQuota": "1048576", "blockLimit": "2097152"}
    return (
        Step("the nodes join", (Callback("nodeJoin", {"eventNode": ",".join(nodes)}),)),
        Step("the daemons start", tuple(Callback("startup", node=each) for each in nodes), 0.1),
        Step("gpfs1 is mounted everywhere", tuple(Callback("mount", {"fsName": "gpfs1"}, each) for each in nodes), 0.1),
        Step(
            "two filesets cross their soft quota",
            (
                Callback("softQuotaExceeded", {**quota, "filesetName": "projects", "blockUsage": "1050000"}),
                Callback("softQuotaExceeded", {**quota, "filesetName": "scratch", "blockUsage": "1300000"}),
            ),
            1.5,
        ),
        Step(
            "a disk fails; the third attempt to start it succeeds",
            (Callback("diskFailure", {"fsName": "gpfs1", "diskName": "nsd3"}),),
            1.5,
        ),
        Step("disk space runs low several times", (low,) * 5, 1.2),
        Step("the broker stops; the cluster does not wait for it", (low,) * 5, 1.2, broker="stop"),
        Step("the broker is back", (low,) * 3, 1.2, broker="start"),
        Step(f"{LEAVING} leaves, and every other node reports it", (Callback("nodeLeave", {"eventNode": LEAVING}),), 2),
        Step(
            "a pool is full; its script cannot help",
            (Callback("noDiskSpace", {"fsName": "gpfs1", "storagePool": "system"}),),
            2,
        ),
        Step(f"{LEAVING} comes back", back, 1),
        Step(
            "the filesets are tidied up",
            tuple(
                Callback("usageUnderSoftQuota", {**quota, "filesetName": each, "blockUsage": "900000"})
                for each in ("projects", "scratch")
            ),
            1,
        ),
    )


HANDLERS: Mapping[str, Callable[[str], str]] = {
    "open-ticket": lambda folder: f'#!/bin/sh\necho "fileset $1 uses $2 KB" >>"{folder}/tickets"\n',
    "restart-disk": lambda folder: (
        "#!/bin/sh\n"
        'if [ "$CLUSTERBUS_ATTEMPT" -lt 3 ]; then echo "$2: still not ready" >&2; exit 1; fi\n'
        f'echo "started $2 of $1" >>"{folder}/disks"\n'
    ),
    "migrate": lambda folder: (
        "#!/bin/sh\n"
        'if [ "$2" = system ]; then echo "the system pool has nowhere to go" >&2; exit 1; fi\n'
        f'echo "migrated $1 $2" >>"{folder}/migrations"\n'
    ),
    "page": lambda folder: f'#!/bin/sh\necho "node $1 left" >>"{folder}/pages"\n',
}
"""The commands of the demo's subscriptions, written into its folder."""
