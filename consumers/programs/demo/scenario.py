"""What happens in the demo, step by step: each step raises events, breaks something, or waits for alerts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...alerts.alert_row import State
from ...store.alerts.alert_rows import OPEN

NODES = 12
LEAVING = "cl04"
_CLOSED: tuple[State, ...] = ("closed",)


@dataclass(frozen=True, slots=True)
class Callback:
    """One event that the simulated cluster raises; *node* if it must happen on a certain node."""

    event: str
    variables: Mapping[str, str] = field(default_factory=dict)
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Someone says that they take care of the open alert of *rule*: *by* a name, with a *comment*."""

    rule: str
    by: str
    comment: str


@dataclass(frozen=True, slots=True)
class Awaited:
    """*count* alerts of *rule* in one of *states*; a later step depends on them."""

    rule: str
    states: tuple[State, ...] = OPEN
    count: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """A *title* to show, and *callbacks* to raise, each followed by a pause of *pause* seconds."""

    title: str
    callbacks: tuple[Callback, ...]
    pause: float = 0.4
    broker: Literal["stop", "start"] | None = None
    """What to do with the broker before the callbacks."""
    acknowledgement: Acknowledgement | None = None
    """What a person does after the callbacks."""
    awaited: tuple[Awaited, ...] = ()
    """What the step waits for at its end."""


_LOW = Callback("lowDiskSpace", {"fsName": "gpfs1", "storagePool": "data"})
_QUOTA = {"fsName": "gpfs1", "quotaType": "FILESET", "blockQuota": "1048576", "blockLimit": "2097152"}


def steps(nodes: tuple[str, ...]) -> tuple[Step, ...]:
    """Return the steps for a cluster of *nodes*."""
    return (*_beginning(nodes), *_without_broker(), *_down(nodes[0]), *_end())


def _beginning(nodes: tuple[str, ...]) -> tuple[Step, ...]:
    return (
        Step("the nodes join", (Callback("nodeJoin", {"eventNode": ",".join(nodes)}),)),
        Step("the daemons start", tuple(Callback("startup", node=each) for each in nodes), 0.1),
        Step("gpfs1 is mounted everywhere", tuple(Callback("mount", {"fsName": "gpfs1"}, each) for each in nodes), 0.1),
        Step(
            "two filesets exceed their soft quota; each opens an alert",
            (
                Callback("softQuotaExceeded", {**_QUOTA, "filesetName": "projects", "blockUsage": "1050000"}),
                Callback("softQuotaExceeded", {**_QUOTA, "filesetName": "scratch", "blockUsage": "1300000"}),
            ),
            1.5,
            awaited=(Awaited("soft-quota", count=2),),
        ),
        Step(
            "a disk fails; the third attempt to start it succeeds",
            (Callback("diskFailure", {"fsName": "gpfs1", "diskName": "nsd3"}),),
            1,
            awaited=(Awaited("disk-down"),),
        ),
        Step(
            "anna acknowledges the alert of the disk",
            (),
            acknowledgement=Acknowledgement("disk-down", "anna", "new cable"),
        ),
    )


def _without_broker() -> tuple[Step, ...]:
    return (
        Step("disk space runs low several times", (_LOW,) * 5, 0.8),
        Step("the broker stops; the cluster does not wait for it", (_LOW,) * 5, 0.8, broker="stop"),
        Step("the broker is back", (_LOW,) * 3, 0.8, broker="start"),
        Step(
            "a pool is full; its script cannot help",
            (Callback("noDiskSpace", {"fsName": "gpfs1", "storagePool": "system"}),),
            1,
        ),
    )


def _down(reporter: str) -> tuple[Step, ...]:
    """Return the steps in which a node is down; *reporter* is another one."""
    back = (Callback("nodeJoin", {"eventNode": LEAVING}), Callback("startup", node=LEAVING))
    return (
        Step(
            f"{LEAVING} leaves, and every other node reports it",
            (Callback("nodeLeave", {"eventNode": LEAVING}),),
            1,
            awaited=(Awaited("node-down"),),
        ),
        Step(
            f"{LEAVING} is overloaded, too; its alert is suppressed, because the node is down",
            (Callback("deadlockOverload", {"nodeName": LEAVING}, reporter),),
            1,
            awaited=(Awaited("overload"),),
        ),
        Step(f"{LEAVING} comes back", back, 1, awaited=(Awaited("node-down", _CLOSED),)),
    )


def _end() -> tuple[Step, ...]:
    return (
        Step(
            "the filesets are tidied up",
            tuple(
                Callback("usageUnderSoftQuota", {**_QUOTA, "filesetName": each, "blockUsage": "900000"})
                for each in ("projects", "scratch")
            ),
            1,
            awaited=(Awaited("soft-quota", _CLOSED, 2),),
        ),
        Step(
            "the script of the full pool gives up; its alert stays open",
            (),
            awaited=(
                Awaited("disk-down", _CLOSED),
                Awaited("overload", _CLOSED),
                Awaited("space", count=2),
                Awaited("delivery-failed"),
            ),
        ),
    )


HANDLERS: Mapping[str, Callable[[str], str]] = {
    "open-ticket": lambda folder: f'#!/bin/sh\necho "fileset $1 uses $2 KB" >>"{folder}/tickets"\n',
    "restart-disk": lambda folder: (
        "#!/bin/sh\n"
        'if [ "$CLUSTERBUS_ATTEMPT" -lt 3 ]; then echo "$2: still not ready" >&2; exit 1; fi\n'
        f'exec {folder}/mm/mmchdisk "$1" start -d "$2" >>{folder}/disks 2>&1\n'
    ),
    "migrate": lambda folder: (
        "#!/bin/sh\n"
        'if [ "$2" = system ]; then echo "the system pool has nowhere to go" >&2; exit 1; fi\n'
        f'echo "migrated $1 $2" >>"{folder}/migrations"\n'
    ),
    "page": lambda folder: f'#!/bin/sh\necho "$1: $2" >>{folder}/pages\n',
}
"""The commands of the demo's subscriptions, written into its folder."""
