"""The state of a simulated cluster: one JSON file, replaced whole, changed under a lock.

Whoever reads it sees a whole state, never half a change.  Changes by several processes at once follow one another.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import StateUnusable

FILE = "cluster.json"
_LOCK = "lock"

Role = Literal["quorum", "manager", "gateway", "server"]
Action = Literal["continue", "quorumLoss", "shutdown"]


class Behaviour(BaseModel):
    """What is not known of GPFS, as switches; the defaults are what is recalled, else the stricter choice.

    `value_with_blanks`: a value with blanks is one argument, or is cut again into several.
    `undefined`: what stands for a variable that does not apply: the word `UNDEFINED`, an empty argument, the
    literal `%name`, or no argument at all.
    `inside_words`: whether `key=%name` in one word is replaced.
    `unknown_variable`: whether a registration with an unknown `%name` is refused, or hands on the literal.
    `event_case`: whether `--event` wants the exact spelling, or takes any case and the spellings IBM's pages use.
    `quorum_reached`: whether quorumReached runs on the new cluster manager only, or on every registered node.
    `node_names`: whether a bare node variable gives full names or short ones.
    `percent`: whether `-Y` output writes a percent sign as `%25`, or as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value_with_blanks: Literal["kept", "split"] = "kept"
    undefined: Literal["word", "empty", "literal", "missing"] = "word"
    inside_words: Literal["kept", "replaced"] = "kept"
    unknown_variable: Literal["refused", "literal"] = "refused"
    event_case: Literal["exact", "any"] = "exact"
    quorum_reached: Literal["manager", "all"] = "manager"
    node_names: Literal["full", "short"] = "full"
    percent: Literal["encoded", "kept"] = "encoded"


class NodeState(BaseModel):
    """One node: its names, its roles, whether GPFS is up on it, and which file systems it has mounted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    full_name: str
    address: str
    number: int
    roles: frozenset[Role]
    up: bool
    mounts: frozenset[str] = frozenset()


class CallbackState(BaseModel):
    """One registration, as mmaddcallback stored it; empty *nodes* means all, those added later included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identifier: str
    command: str
    events: tuple[str, ...]
    priority: Annotated[float, Field(allow_inf_nan=False)] | None = None
    sync: bool = False
    timeout: int | None = None
    on_error: Action | None = None
    nodes: tuple[str, ...] = ()
    parms: str = ""


class State(BaseModel):
    """A whole cluster.  *file_systems* gives the manager node of each, None where no node can be it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    name: str
    id: str
    manager: str | None
    nodes: dict[str, NodeState]
    file_systems: dict[str, str | None]
    callbacks: dict[str, CallbackState] = {}
    behaviour: Behaviour = Behaviour()

    def up(self, role: Role | None = None) -> list[NodeState]:
        """Return the nodes that are up, in order, of *role* where one is given."""
        return [each for each in self.nodes.values() if each.up and (role is None or role in each.roles)]


class Store:
    """The state in a folder."""

    def __init__(self, folder: Path) -> None:
        """Use *folder*; nothing is touched yet."""
        self.folder = folder

    def create(self, state: State) -> None:
        """Make the folder and write the first *state*; raises StateUnusable where there is a cluster already."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                if (self.folder / FILE).exists():
                    raise StateUnusable(f"{self.folder} holds a cluster already: take another folder, or remove it")
                self._write(state)
        except OSError as error:
            raise StateUnusable(f"cannot make a cluster in {self.folder}: {error}") from error

    def read(self) -> State:
        """Return the present state."""
        path = self.folder / FILE
        try:
            return State.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise StateUnusable(f"{self.folder} holds no simulated cluster: make one with `create`") from error
        except OSError as error:
            raise StateUnusable(f"cannot read {path}: {error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(each) for each in first["loc"])
            raise StateUnusable(f"{path} is no state of ours: {where}: {first['msg']}") from error

    def change(self, how: Callable[[State], State]) -> State:
        """Replace the state by what *how* makes of it, and return the new one; nothing changes if *how* raises."""
        self.read()  # so that a missing folder is told as such, not as a missing lock
        try:
            with self._locked():
                state = how(self.read())
                self._write(state)
                return state
        except OSError as error:
            raise StateUnusable(f"cannot change {self.folder / FILE}: {error}") from error

    def _locked(self) -> "_Lock":
        return _Lock(self.folder / _LOCK)

    def _write(self, state: State) -> None:
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=FILE)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(state.model_dump_json(indent=1))
            Path(name).replace(self.folder / FILE)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class _Lock:
    """An advisory lock on a file, held inside `with`; the kernel gives it up when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
