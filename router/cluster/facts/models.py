"""Facts of a cluster, as immutable values.  An unknown value is None, and `missing` says why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from ...model.node_words import word_of
from .views import Known, Named

_SHARED = 5
"""The maximum number of shared names in a reason."""


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class NodeFacts(_Fact):
    """A node: *name* is its identity, its word in events; *state* is what mmgetstate prints, such as `active`."""

    name: str
    full_name: str | None = None
    admin_name: str | None = None
    address: str | None = None
    number: int | None = None
    quorum: bool | None = None
    manager: bool | None = None
    roles: tuple[str, ...] | None = None
    state: str | None = None


class QuorumFacts(_Fact):
    """The quorum: how many nodes are *needed*, how many are *present* (active), and whether quorum is *reached*.

    With *tiebreaker* disks, one node is enough.
    """

    needed: int | None = None
    present: int | None = None
    reached: bool | None = None
    tiebreaker: bool | None = None


class DiskFacts(_Fact):
    """A disk of a file system, in the words of mmlsdisk: *availability* is `up`, `down`, `recovering`, ..."""

    name: str
    status: str | None = None
    availability: str | None = None
    pool: str | None = None
    failure_group: str | None = None
    metadata: bool | None = None
    data: bool | None = None


class FilesetFacts(_Fact):
    """A fileset: *status* is as mmlsfileset prints it, such as `Linked`; *path* is its junction."""

    name: str
    id: int | None = None
    status: str | None = None
    path: str | None = None
    comment: str | None = None
    inode_space: int | None = None
    afm_target: str | None = None
    afm_state: str | None = None


class PoolFacts(_Fact):
    """A pool of a file system, from mmdf: *size* and *free* in KB, *used* in percent."""

    name: str
    size: int | None = None
    free: int | None = None
    used: float | None = None


class QuotaFacts(_Fact):
    """The quota of a fileset, from mmrepquota: blocks in KB, 0 means no limit; *block_grace* is as it is printed."""

    name: str
    block_usage: int | None = None
    block_quota: int | None = None
    block_limit: int | None = None
    files_usage: int | None = None
    files_quota: int | None = None
    files_limit: int | None = None
    block_grace: str | None = None
    files_grace: str | None = None


class FileSystemFacts(_Fact):
    """A file system: *manager* is its manager's identity; *attributes* holds all that mmlsfs prints, in its words.

    *down* lists the disks that are not up, at most 100, sorted by name.  *pools* and *quotas* are known only where the
    settings ask for the usage.
    """

    name: str
    manager: str | None = None
    mount_point: str | None = None
    automount: str | None = None
    attributes: Mapping[str, str] | None = None
    disks: Mapping[str, DiskFacts] | None = None
    down: tuple[str, ...] | None = None
    filesets: Mapping[str, FilesetFacts] | None = None
    pools: Mapping[str, PoolFacts] | None = None
    quotas: Mapping[str, QuotaFacts] | None = None


class PartFacts(_Fact):
    """The state of a part: when it was last *confirmed*, and the *reason* why it could not be read since then."""

    confirmed: datetime | None = None
    reason: str = ""


class Facts(_Fact):
    """All known facts of a cluster; *missing* gives the parts that are not known, and why.

    *names* maps every spelling of a node's name to its identity.  *down* lists the nodes whose state is not active, at
    most 100, sorted by name.  A part is stale when it was last confirmed longer than *limit* ago, or could not be read
    at the last attempt.
    """

    cluster: str
    full_name: str | None = None
    id: str | None = None
    nodes: Mapping[str, NodeFacts] | None = None
    names: Mapping[str, str] = {}
    down: tuple[str, ...] | None = None
    manager: str | None = None
    quorum: QuorumFacts = QuorumFacts()
    file_systems: Mapping[str, FileSystemFacts] | None = None
    node_classes: Mapping[str, tuple[str, ...]] | None = None
    parts: Mapping[str, PartFacts] = {}
    missing: Mapping[str, str] = {}
    limit: timedelta = timedelta(minutes=5)

    def identity(self, name: str) -> str | None:
        """Return the identity of the node *name*, in any spelling; None if there is no such node."""
        return self.names.get(name) or self.names.get(name.lower())

    @cached_property
    def shared_names(self) -> Mapping[str, tuple[str, ...]]:
        """The short names that several nodes have, as in events, with the full names of those nodes."""
        found: dict[str, list[str]] = {}
        for each in (self.nodes or {}).values():
            full_name = each.full_name or each.name
            found.setdefault(word_of(full_name), []).append(full_name)
        return {name: tuple(nodes) for name, nodes in found.items() if len(nodes) > 1}

    @property
    def taken_at(self) -> datetime | None:
        """When the oldest known part was last confirmed."""
        return min((each.confirmed for each in self.parts.values() if each.confirmed), default=None)

    def is_stale(self, part: str, now: datetime) -> bool:
        """Return whether *part* is stale: too old at *now*, or not read at the last attempt."""
        known = self.parts[part]
        return bool(known.reason) or known.confirmed is None or now - known.confirmed > self.limit

    def at(self, now: datetime) -> Known:
        """Return the facts for filters and templates, with their age at *now*."""
        parts = Named({name: self._part(name, now) for name in self.parts}, _KnownPart)
        known = [each for each in parts.values() if each["age"] is not None]
        facts = {
            **self._plain,
            "age": max((each["age"] for each in known), default=None),
            "stale": any(each["stale"] for each in known),
            "parts": parts,
        }
        shared = [
            f"{name!r} is {' and '.join(nodes)}: use a full name"
            for name, nodes in [*self.shared_names.items()][:_SHARED]
        ]
        reasons = "; ".join([*(f"{part}: {reason}" for part, reason in self.missing.items()), *shared])
        confirmed = {name: each.confirmed for name, each in self.parts.items() if each.confirmed}
        return Known(facts, reasons and f"not known of cluster {self.cluster}: {reasons}", _NULLS, confirmed)

    def _part(self, name: str, now: datetime) -> dict[str, Any]:
        part = self.parts[name]
        age = max(0.0, round((now - part.confirmed).total_seconds(), 3)) if part.confirmed else None
        return {"age": age, "stale": self.is_stale(name, now), "reason": part.reason or None}

    @cached_property
    def _plain(self) -> Mapping[str, Any]:
        """Everything that does not depend on the time, computed once: clusters have thousands of nodes."""
        plain = self.model_dump(exclude={"parts", "limit", "names", "nodes", "file_systems", "node_classes"})
        plain["taken_at"] = self.taken_at and self.taken_at.isoformat(timespec="seconds")
        plain["names"] = dict(self.names)
        # Lists, because neither CEL nor our templates know tuples.
        plain["down"] = _listed(self.down)
        classes = self.node_classes
        plain["node_classes"] = None if classes is None else {name: list(each) for name, each in classes.items()}
        plain["nodes"] = None if self.nodes is None else Named(_dumped(self.nodes), NodeFacts, self.identity)
        file_systems = self.file_systems
        plain["file_systems"] = (
            None
            if file_systems is None
            else Named(
                {name: _file_system(each) for name, each in file_systems.items()}, FileSystemFacts, groups=_GROUPS
            )
        )
        return plain


def _dumped(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {key: _listed(value) for key, value in each} for name, each in facts.items()}


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _file_system(facts: FileSystemFacts) -> Named:
    plain = {key: _listed(value) for key, value in facts}
    plain["attributes"] = facts.attributes and Named(facts.attributes)
    plain["disks"] = None if facts.disks is None else Named(_dumped(facts.disks), DiskFacts)
    plain["filesets"] = None if facts.filesets is None else Named(_dumped(facts.filesets), FilesetFacts)
    plain["pools"] = None if facts.pools is None else Named(_dumped(facts.pools), PoolFacts)
    plain["quotas"] = None if facts.quotas is None else Named(_dumped(facts.quotas), QuotaFacts)
    return Named(plain, groups=_GROUPS)


class _KnownPart(_Fact):
    """A part as filters and templates see it."""

    age: float | None = None
    stale: bool | None = None
    reason: str | None = None


_GROUPS: Mapping[str, Named] = {
    "attributes": Named({}),
    "disks": Named({}, DiskFacts),
    "filesets": Named({}, FilesetFacts),
    "pools": Named({}, PoolFacts),
    "quotas": Named({}, QuotaFacts),
}
"""The parts of a file system that are looked up by name."""

_NULLS: Mapping[str, Any] = {
    **dict.fromkeys((*Facts.model_fields, "age", "stale")),
    "nodes": Named({}, NodeFacts),
    "file_systems": Named({}, FileSystemFacts, groups=_GROUPS),
    "names": Named({}),
    "quorum": dict.fromkeys(QuorumFacts.model_fields),
    "parts": Named({}, _KnownPart),
    "missing": Named({}),
    "node_classes": Named({}),
}


def unknown(reason: str) -> Known:
    """Return facts without any known value, because of *reason*."""
    return Known(None, reason, _NULLS)
