"""The state of a simulated cluster, as values.  Pure.

Parts that exist in large numbers have their own dictionaries, and changes replace entries, so that the store writes
only what changed.  Disks, filesets, quotas and snapshots have keys such as `gpfs1/nsd1`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from .switches import Behaviour

Role = Literal["quorum", "manager", "gateway", "ces", "perfmon", "server"]
Action = Literal["continue", "quorumLoss", "shutdown"]
QuotaType = Literal["USR", "GRP", "FILESET"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeState(_Part):
    """One node: its names, its roles, whether GPFS is up on it, and which file systems it has mounted."""

    name: str
    full_name: str
    address: str
    number: int
    roles: frozenset[Role]
    up: bool
    mounts: frozenset[str] = frozenset()


class CallbackState(_Part):
    """One registration, as mmaddcallback stored it; empty *nodes* means all nodes.

    *since* counts the events before the registration; *covers* is the highest number of a node that may run it.  Both
    matter only with certain switches of `Behaviour`.
    """

    identifier: str
    command: str
    events: tuple[str, ...]
    priority: Annotated[float, Field(allow_inf_nan=False)] | None = None
    sync: bool = False
    timeout: int | None = None
    on_error: Action | None = None
    nodes: tuple[str, ...] = ()
    parms: str = ""
    since: int = 0
    covers: int | None = None


class FormerState(_Part):
    """A registration that was deleted after *until* events; slow nodes may still use it."""

    callback: CallbackState
    until: int


class DiskState(_Part):
    """One disk of a file system."""

    name: str
    file_system: str
    number: int
    failure_group: int
    pool: str
    size_kb: int
    servers: tuple[str, ...]
    uid: str
    metadata: bool = True
    data: bool = True
    status: Literal["ready", "suspended"] = "ready"
    availability: Literal["up", "down"] = "up"


class FilesetState(_Part):
    """One fileset; *parent* is None for root, *home* the target of an AFM cache."""

    name: str
    file_system: str
    number: int
    root_inode: int
    path: str
    created: datetime
    parent: int | None = None
    comment: str = ""
    home: str = ""
    inode_space: int = 0
    most_inodes: int = 0


class QuotaState(_Part):
    """The usage and limits of one user, group or fileset in a file system: blocks in KB; 0 means no limit."""

    file_system: str
    type: QuotaType
    number: int
    name: str
    block_usage: int = 0
    block_quota: int = 0
    block_limit: int = 0
    files_usage: int = 0
    files_quota: int = 0
    files_limit: int = 0


class SnapshotState(_Part):
    """One snapshot of *fileset*, or of the whole file system if *fileset* is empty."""

    name: str
    file_system: str
    number: int
    created: datetime
    fileset: str = ""


_Stored = TypeVar("_Stored", DiskState, FilesetState, QuotaState, SnapshotState)


class State(_Part):
    """A whole cluster.  *file_systems* gives the manager node of each, or None if no node can be its manager."""

    version: Literal[2] = 2
    name: str
    id: str
    manager: str | None
    behaviour: Behaviour = Behaviour()
    happened: int = 0
    snapshots_taken: int = 0
    nodes: dict[str, NodeState]
    file_systems: dict[str, str | None]
    callbacks: dict[str, CallbackState] = {}
    former: dict[str, FormerState] = {}
    classes: dict[str, tuple[str, ...]] = {}
    disks: dict[str, DiskState] = {}
    filesets: dict[str, FilesetState] = {}
    quotas: dict[str, QuotaState] = {}
    snapshots: dict[str, SnapshotState] = {}

    def up(self, role: Role | None = None) -> list[NodeState]:
        """Return the nodes that are up, in order; only those with *role* if it is given."""
        return [each for each in self.nodes.values() if each.up and (role is None or role in each.roles)]

    @property
    def quorum_needed(self) -> int:
        """How many quorum nodes must be up: more than half of them."""
        return sum("quorum" in each.roles for each in self.nodes.values()) // 2 + 1

    @property
    def quorum(self) -> bool:
        """Whether enough quorum nodes are up."""
        return len(self.up("quorum")) >= self.quorum_needed


def of_file_system(parts: Mapping[str, _Stored], name: str) -> list[_Stored]:
    """Return the *parts* that belong to the file system *name*, in order."""
    return [each for each in parts.values() if each.file_system == name]
