"""The folder of a private broker: who may use it, what it is called, what it is told."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from secrets import token_hex
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import Unreachable
from .ports import free_ports, is_free

USER: Final = "clusterbus"
_IDENTITY: Final = "identity.json"
_PORTS: Final = ("amqp", "http", "distribution", "epmd")
_WORD: Final = r"^[a-z0-9-]{1,60}$"

# Small: a private broker shares its machine with others.  Cuts between nodes are noticed soon.
_SETTINGS: Final = (
    "disk_free_limit.absolute = 50MB",
    "log.file.level = info",
    f"default_user = {USER}",
    "default_user_tags.administrator = true",
)
_ADVANCED: Final = (
    "[{kernel,[{net_ticktime,15}]},{aten,[{poll_interval,1000}]},"
    "{rabbit,[{dead_letter_worker_publisher_confirm_timeout,15000}]}].\n"
)


def _pick_ports() -> dict[str, int]:
    return dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))


class Identity(BaseModel):
    """What stays the same from one start on a folder to the next."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=_WORD)
    password: str = Field(pattern=_WORD, repr=False)
    cookie: str = Field(pattern=_WORD, repr=False)
    ports: dict[str, int]


class Home:
    """A broker's folder, ours alone as long as it is open; a temporary one is removed when it is closed."""

    def __init__(self, folder: Path | None) -> None:
        """Open *folder*, or a temporary one; raises Unreachable where that fails, or another broker runs there."""
        self.temporary = folder is None
        self.lock = -1
        self.path = Path(tempfile.mkdtemp(prefix="clusterbus-broker-")) if folder is None else folder.absolute()
        try:
            self._open()
        except BlockingIOError as error:
            self.close()
            raise Unreachable(f"another broker runs on {self.path}: end it, or choose another folder") from error
        except (OSError, ValidationError) as error:
            self.close()
            raise Unreachable(f"the private broker cannot use {self.path / _IDENTITY}: {error}") from error

    @property
    def name(self) -> str:
        """The broker's own name; no other broker has it."""
        return self._identity.name

    @property
    def password(self) -> str:
        """The administrator's."""
        return self._identity.password

    @property
    def cookie(self) -> str:
        """What Erlang nodes and tools show each other."""
        return self._identity.cookie

    def port(self, use: str) -> int:
        """Return the port for *use*: amqp, http, distribution or epmd."""
        return self._identity.ports[use]

    def move(self) -> None:
        """Take other ports: one of the present ones was taken by somebody else."""
        self._take(self._identity.model_copy(update={"ports": _pick_ports()}))

    def write(self, name: str, content: str, mode: int = 0o600) -> Path:
        """Have *content*, and never a part of it, in the file *name* of the folder; return its path."""
        path = self.path / name
        descriptor, aside = tempfile.mkstemp(dir=self.path, prefix=".")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
        return Path(aside).replace(path)

    def configure(self, plugins: Sequence[str], lines: Sequence[str]) -> None:
        """Write what every broker is told: rabbitmq.conf with *lines* at its end, advanced.config and *plugins*."""
        settings = (*_SETTINGS, f"cluster_name = {self.name}", f"default_pass = {self.password}", *lines)
        self.write("rabbitmq.conf", "".join(f"{line}\n" for line in settings))
        self.write("advanced.config", _ADVANCED)
        self.write("plugins", f"[{','.join(plugins)}].\n")

    def close(self, *, keep: bool = False) -> None:
        """Let go of the folder; a temporary one is removed, unless its logs are to be read (*keep*)."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1
        if self.temporary and not keep:
            shutil.rmtree(self.path, ignore_errors=True)

    def _open(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Guards inherit the descriptor: the folder is taken as long as a broker runs there, whoever started it.
        self.lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        flock(self.lock, LOCK_EX | LOCK_NB)
        known = self.path / _IDENTITY
        if not known.exists():
            name = f"clusterbus-{token_hex(4)}"
            self._take(Identity(name=name, password=token_hex(16), cookie=token_hex(16), ports=_pick_ports()))
            return
        self._identity = Identity.model_validate_json(known.read_bytes())
        if set(self._identity.ports) != set(_PORTS) or not all(map(is_free, self._identity.ports.values())):
            self.move()

    def _take(self, identity: Identity) -> None:
        self._identity = identity
        self.write(_IDENTITY, identity.model_dump_json())
