"""Scenarios of a cluster, as steps: which event happens when and where, or which mm command runs.  Pure.

The order follows GPFS as far as it is known; the times between steps are decided here.  The same seed gives the same
steps.  Steps are generated one by one, because thousands of nodes give tens of thousands of steps.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from ...errors import did_you_mean
from ..cluster_state import NodeState, State, of_file_system
from ..errors import CommandRefused
from ..setup.new_file_system import HOME


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at *moment* after the start: *event* with *values*, on *node* if given, or an mm *command*."""

    moment: timedelta
    event: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    node: str | None = None
    command: tuple[str, ...] = ()


_TimedStep = tuple[float, Step]
"""The seconds since the previous step, and the step."""

Scenario = Callable[[State, random.Random], Iterator[_TimedStep]]


def steps(name: str, state: State, *, seed: int = 0, rate: float | None = None) -> Iterator[Step]:
    """Return the steps of the scenario *name* in the cluster *state*; *rate* spaces them evenly, in steps a second.

    Raises CommandRefused if there is no such scenario, or if the cluster lacks what it needs.
    """
    scenario = SCENARIOS.get(name.strip().lower().replace("-", " "))
    if scenario is None:
        hint = did_you_mean(name, SCENARIOS)
        raise CommandRefused(f"there is no scenario {name!r}{hint}: choose {', '.join(SCENARIOS)}")
    if not state.file_systems:
        raise CommandRefused(f"{state.name} has no file system: create a cluster with one")
    # Not for secrets: the same seed must give the same steps.
    return _timed(scenario(state, random.Random(seed)), rate)  # noqa: S311


def _timed(steps: Iterable[_TimedStep], rate: float | None) -> Iterator[Step]:
    seconds = 0.0
    for place, (after, step) in enumerate(steps):
        seconds += after
        yield replace(step, moment=timedelta(seconds=seconds if rate is None else place / rate))


def _step(event: str, node: str | None = None, **values: str) -> Step:
    return Step(timedelta(), event, values, node)


def _quorum_nodes(state: State) -> list[NodeState]:
    return [each for each in state.nodes.values() if "quorum" in each.roles]


def _joining(node: NodeState) -> Iterator[Step]:
    yield _step("preStartup", node.name)
    yield _step("nodeJoin", eventNode=node.name)
    if "quorum" in node.roles:
        yield _step("quorumNodeJoin", eventNode=node.name)
    yield _step("startup", node.name)


def _mounting(state: State, node: NodeState) -> Iterator[Step]:
    for each in state.file_systems:
        yield _step("preMount", node.name, fsName=each)
        yield _step("mount", node.name, fsName=each)


def _leaving(state: State, node: NodeState, reason: str) -> Iterator[Step]:
    for each in state.file_systems:
        yield _step("preUnmount", node.name, fsName=each, reason=reason)
        yield _step("unmount", node.name, fsName=each, reason=reason)
    yield _step("preShutdown", node.name, reason=reason)
    yield _step("shutdown", node.name, reason=reason)
    if "quorum" in node.roles:
        yield _step("quorumNodeLeave", eventNode=node.name)
    yield _step("nodeLeave", eventNode=node.name)


def _cluster_start(state: State, chance: random.Random) -> Iterator[_TimedStep]:
    """Yield how quorum nodes join, a majority elects a manager, the other nodes join in any order, and all mount."""
    quorum = _quorum_nodes(state)
    for place, node in enumerate(quorum, start=1):
        for each in _joining(node):
            yield chance.uniform(0.1, 0.5), each
        if place == state.quorum_needed:
            yield 0.2, _step("clusterManagerTakeOver", clusterManager=quorum[0].name)
            yield 0.1, _step("quorumReached", quorumNodes=",".join(each.name for each in quorum[:place]))
    others = [each for each in state.nodes.values() if "quorum" not in each.roles]
    chance.shuffle(others)
    for node in [*quorum, *others]:
        if "quorum" not in node.roles:
            for each in _joining(node):
                yield chance.uniform(0.01, 0.1), each
        for each in _mounting(state, node):
            yield chance.uniform(0.01, 0.1), each


def _disk_failure(state: State, chance: random.Random) -> Iterator[_TimedStep]:
    """Yield how a disk fails and is started; then a disk fails again, and all disks are started."""
    device = chance.choice(list(state.file_systems))
    disks = [each.name for each in of_file_system(state.disks, device)] or ["nsd1"]
    for start in (("-d",), ("-a",)):
        disk = chance.choice(disks)
        yield chance.uniform(1, 5), _step("diskFailure", fsName=device, diskName=disk)
        yield chance.uniform(1, 5), Step(timedelta(), command=("mmlsdisk", device, "-e"))
        words = (*start, disk) if start == ("-d",) else start
        yield chance.uniform(20, 60), Step(timedelta(), command=("mmchdisk", device, "start", *words))


def _space_low(state: State, chance: random.Random) -> Iterator[_TimedStep]:
    """Yield how space is low, reported every two minutes; a quota is exceeded; space runs out; some space is freed."""
    device = chance.choice(list(state.file_systems))
    pools = list(dict.fromkeys(each.pool for each in of_file_system(state.disks, device))) or ["system"]
    pool = pools[-1]
    owners = [each for each in of_file_system(state.quotas, device) if each.type == "FILESET" and each.block_quota]
    for turn in range(5):
        yield 0.0 if turn == 0 else chance.uniform(118, 122), _step("lowDiskSpace", fsName=device, storagePool=pool)
    for each in owners[:1]:
        values = {"fsName": device, "filesetName": each.name, "quotaType": "FILESET", "quotaID": str(each.number)}
        limits = {"blockQuota": str(each.block_quota), "blockLimit": str(each.block_limit)}
        over = values | limits | {"blockUsage": str(each.block_quota + 4096)}
        yield 10.0, _step("softQuotaExceeded", None, **over)
    yield 60.0, _step("noDiskSpace", fsName=device, storagePool=pool, reason="diskspace")
    for each in owners[:1]:
        values = {"fsName": device, "filesetName": each.name, "quotaType": "FILESET", "quotaID": str(each.number)}
        yield 300.0, _step("usageUnderSoftQuota", None, **values, blockUsage=str(each.block_quota // 2))


def _quorum_lost(state: State, chance: random.Random) -> Iterator[_TimedStep]:
    """Yield how quorum nodes leave until quorum is lost, then return, and one becomes cluster manager."""
    quorum = _quorum_nodes(state)
    gone = chance.sample(quorum, len(quorum) - state.quorum_needed + 1)
    left = [each for each in quorum if each not in gone]
    for node in gone:
        yield chance.uniform(1, 10), _step("quorumNodeLeave", eventNode=node.name)
        yield 0.1, _step("nodeLeave", eventNode=node.name)
    yield 1.0, _step("quorumLoss")
    for node in gone:
        yield chance.uniform(30, 90), _step("preStartup", node.name)
        yield 0.5, _step("nodeJoin", eventNode=node.name)
        yield 0.1, _step("quorumNodeJoin", eventNode=node.name)
        yield 0.5, _step("startup", node.name)
    yield 1.0, _step("clusterManagerTakeOver", clusterManager=(left or gone)[0].name)
    yield 0.1, _step("quorumReached", quorumNodes=",".join(each.name for each in quorum))
    for node in gone:
        for each in _mounting(state, node):
            yield chance.uniform(0.1, 1), each


def _rolling_restart(state: State, chance: random.Random) -> Iterator[_TimedStep]:
    """Yield how one node after another is stopped and started, and mounts again."""
    for node in state.nodes.values():
        for each in _leaving(state, node, "normal"):
            yield chance.uniform(0.1, 2), each
        for each in _joining(node):
            yield chance.uniform(5, 10), each
        for each in _mounting(state, node):
            yield chance.uniform(0.1, 2), each


def _home_lost(state: State, chance: random.Random) -> Iterator[_TimedStep]:
    """Yield how the home of an AFM cache becomes unreachable, the cache expires, the home returns, recovery runs."""
    caches = [each for each in state.filesets.values() if each.home]
    if not caches:
        raise CommandRefused(f"{state.name} has no AFM fileset, which this scenario needs")
    cache = chance.choice(caches)
    place = {"fsName": cache.file_system, "filesetName": cache.name}
    about = place | {"homeServer": HOME.partition("//")[2].partition("/")[0]}
    yield 0.0, _step("afmHomeDisconnected", None, **about, pcacheEvent="disconnect", reason="home not reachable")
    yield chance.uniform(5, 20), _step("afmFilesetUnmounted", None, **about, reason="target not mounted")
    yield chance.uniform(100, 300), _step("afmFilesetExpired", None, **about, reason="expiration timeout passed")
    yield chance.uniform(100, 300), _step("afmHomeConnected", None, **about, pcacheEvent="connect")
    yield chance.uniform(1, 5), _step("afmFilesetUnexpired", None, **about, reason="home reached")
    yield chance.uniform(1, 5), _step("afmRecoveryStart", None, **about)
    yield chance.uniform(20, 60), _step("afmRecoveryEnd", None, **about)


SCENARIOS: Mapping[str, Scenario] = {
    "cluster start": _cluster_start,
    "disk failure": _disk_failure,
    "space running low": _space_low,
    "quorum lost": _quorum_lost,
    "rolling restart": _rolling_restart,
    "afm home lost": _home_lost,
}
"""The scenarios by name, in lower case and with blanks."""
