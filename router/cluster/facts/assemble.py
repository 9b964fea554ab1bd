"""Assembles facts from the parts that are known.  Pure.

If one part is missing, another may replace some of it: nodes come from their states if mmlscluster failed, and file
systems from their managers if mmlsfs failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from .models import (
    DiskFacts,
    Facts,
    FilesetFacts,
    FileSystemFacts,
    NodeFacts,
    PartFacts,
    PoolFacts,
    QuorumFacts,
    QuotaFacts,
)
from .node_names import identities, spellings
from .parts import (
    CLUSTER,
    DISKS,
    FILE_SYSTEMS,
    FILESETS,
    MANAGERS,
    NODE_CLASSES,
    POOLS,
    QUOTAS,
    STATES,
    WHOLE,
    Content,
    Reading,
    of_file_system,
    usage_of_file_system,
)

_NEVER = "was never read"
_ACTIVE, _UP = "active", "up"

MOST_DOWN = 100
"""The maximum number of names in a list of nodes or disks that are down."""


def assemble(cluster: str, readings: Iterable[Reading], limit: timedelta) -> Facts:
    """Return the facts of *cluster*; a part is stale when it was last confirmed longer than *limit* ago."""
    known = {each.part: each for each in readings}
    content = {name: each.content for name, each in known.items() if each.content is not None}
    nodes = _nodes(content.get(CLUSTER), content.get(STATES))
    names = _names(nodes, content.get(STATES))
    file_systems = _file_systems(content, names)
    wanted = [*WHOLE, *(part for name in file_systems or () for part in of_file_system(name))]
    wanted += [part for name in file_systems or () for part in usage_of_file_system(name) if part in known]
    missing = {part: (known[part].reason if part in known else "") or _NEVER for part in wanted if part not in content}
    about = content.get(CLUSTER, {})
    managers = content.get(MANAGERS, {})
    return Facts(
        cluster=cluster,
        full_name=about.get("name"),
        id=about.get("id"),
        nodes=nodes,
        names=names,
        down=_down({each.name: each.state for each in (nodes or {}).values()}, _ACTIVE) if STATES in content else None,
        manager=_called(names, managers.get("cluster")),
        quorum=_quorum(nodes, content.get(STATES)),
        file_systems=file_systems,
        node_classes=_classes(content.get(NODE_CLASSES), names),
        parts={
            name: PartFacts(confirmed=each.confirmed, reason=each.reason)
            for name, each in sorted(known.items())
            if each.content is not None
        },
        missing=missing,
        limit=limit,
    )


def _nodes(cluster: Content | None, states: Content | None) -> dict[str, NodeFacts] | None:
    if cluster is None and states is None:
        return None
    by_number: Mapping[str, Any] = (states or {}).get("nodes", {})
    rows: list[Mapping[str, Any]] = (cluster or {}).get("nodes", [])
    if cluster is None:
        rows = [
            {"full_name": row.get("name"), "number": int(number) if number.isdigit() else None}
            | ({"quorum": row["quorum"]} if "quorum" in row else {})
            for number, row in by_number.items()
        ]
    found = identities(str(row["full_name"]) for row in rows)
    nodes = {}
    for name, row in zip(found, rows, strict=True):
        reported = by_number.get(str(row.get("number")), {})
        known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
        if known.get("quorum") is None:
            known["quorum"] = reported.get("quorum")
        nodes[name] = NodeFacts(name=name, **known, state=reported.get("state"))
    return nodes


def _down(states: Mapping[str, str | None], up: str) -> tuple[str, ...]:
    """Return the names whose state is known and is not *up*: the first MOST_DOWN, sorted."""
    return tuple(sorted(name for name, state in states.items() if state not in (None, up))[:MOST_DOWN])


def _names(nodes: Mapping[str, NodeFacts] | None, states: Content | None) -> dict[str, str]:
    by_number = (states or {}).get("nodes", {})
    spelled = {
        name: [each.full_name, each.admin_name, each.address, by_number.get(str(each.number), {}).get("name")]
        for name, each in (nodes or {}).items()
    }
    return spellings(spelled)


def _called(names: Mapping[str, str], name: str | None) -> str | None:
    """Return the identity of the node *name*, or *name* itself if the node is not known."""
    return name and (names.get(name) or names.get(name.lower()) or name)


def _quorum(nodes: Mapping[str, NodeFacts] | None, states: Content | None) -> QuorumFacts:
    if states is None or nodes is None:
        return QuorumFacts()
    needed = states.get("needed")
    tiebreaker = states.get("tiebreaker")
    voters = [each for each in nodes.values() if each.quorum]
    if not voters:
        return QuorumFacts(needed=needed, tiebreaker=tiebreaker)
    present = sum(each.state == _ACTIVE for each in voters)
    # Nodes with an unknown role may be quorum nodes too.
    others = sum(each.state == _ACTIVE for each in nodes.values() if each.quorum is None)
    if not present + others:
        reached: bool | None = False
    elif needed is None or present < needed <= present + others:
        reached = None
    else:
        reached = present >= needed
    return QuorumFacts(needed=needed, present=present, reached=reached, tiebreaker=tiebreaker)


def _file_systems(content: Mapping[str, Content], names: Mapping[str, str]) -> dict[str, FileSystemFacts] | None:
    listed, managers = content.get(FILE_SYSTEMS), content.get(MANAGERS)
    if listed is None and managers is None:
        return None
    managed: Mapping[str, str] = (managers or {}).get("file_systems", {})
    found = {}
    for name in listed if listed is not None else managed:
        attributes = None if listed is None else listed[name]
        disks, filesets = content.get(f"{DISKS}{name}"), content.get(f"{FILESETS}{name}")
        pools, quotas = content.get(f"{POOLS}{name}"), content.get(f"{QUOTAS}{name}")
        found[name] = FileSystemFacts(
            name=name,
            manager=_called(names, managed.get(name)),
            mount_point=(attributes or {}).get("defaultMountPoint"),
            automount=(attributes or {}).get("automaticMountOption"),
            attributes=attributes,
            disks=disks and {each: DiskFacts(name=each, **row) for each, row in disks.items()},
            down=None if disks is None else _down({each: row.get("availability") for each, row in disks.items()}, _UP),
            filesets=filesets and {each: FilesetFacts(name=each, **row) for each, row in filesets.items()},
            pools=pools and {each: PoolFacts(name=each, **row) for each, row in pools.items()},
            quotas=quotas and {each: QuotaFacts(name=each, **row) for each, row in quotas.items()},
        )
    return found


def _classes(content: Content | None, names: Mapping[str, str]) -> dict[str, tuple[str, ...]] | None:
    if content is None:
        return None
    return {name: tuple(_called(names, each) or each for each in members) for name, members in content.items()}
