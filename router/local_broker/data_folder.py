"""The data folder of a private broker: its lock, its identity and its configuration."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from secrets import token_hex
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import Unreachable
from .ports import free_ports, is_free

USER: Final = "clusterbus"
_IDENTITY: Final = "identity.json"
_PORTS: Final = ("amqp", "http", "prometheus", "distribution", "epmd")
_WORD: Final = r"^[a-z0-9-]{1,60}$"

# Small limits, because a private broker shares its machine; short intervals, to detect lost connections early.
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
    """The values that stay the same for every start in one folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=_WORD)
    password: str = Field(pattern=_WORD, repr=False)
    cookie: str = Field(pattern=_WORD, repr=False)
    ports: dict[str, int]


class DataFolder:
    """The folder of a broker, locked while it is open; a temporary folder is removed when it is closed."""

    def __init__(self, folder: Path | None) -> None:
        """Open *folder*, or a temporary one; raises Unreachable if that fails or another broker runs there."""
        self.temporary = folder is None
        self.lock = -1
        self.path = Path(tempfile.mkdtemp(prefix="clusterbus-broker-")) if folder is None else folder.absolute()
        try:
            self._open()
        except BlockingIOError as error:
            self.close()
            raise Unreachable(f"another broker runs in {self.path}: stop it, or choose another folder") from error
        except (OSError, ValidationError) as error:
            self.close()
            raise Unreachable(f"the private broker cannot use {self.path / _IDENTITY}: {error}") from error

    @property
    def name(self) -> str:
        """The unique name of the broker."""
        return self._identity.name

    @property
    def password(self) -> str:
        """The password of the administrator."""
        return self._identity.password

    @property
    def cookie(self) -> str:
        """The secret that Erlang nodes and tools share."""
        return self._identity.cookie

    def port(self, use: str) -> int:
        """Return the port for *use*: amqp, http, prometheus, distribution or epmd."""
        return self._identity.ports[use]

    def move(self) -> None:
        """Choose other ports: another program uses one of the current ports."""
        self._save(self._identity.model_copy(update={"ports": _pick_ports()}))

    def write(self, name: str, content: str, mode: int = 0o600) -> Path:
        """Write *content* to the file *name* of the folder in one step, never partly; return its path."""
        path = self.path / name
        descriptor, new = tempfile.mkstemp(dir=self.path, prefix=".")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
        return Path(new).replace(path)

    def configure(self, plugins: Sequence[str], lines: Sequence[str]) -> None:
        """Write the broker's configuration: rabbitmq.conf, which ends with *lines*, advanced.config and *plugins*."""
        settings = (*_SETTINGS, f"cluster_name = {self.name}", f"default_pass = {self.password}", *lines)
        self.write("rabbitmq.conf", "".join(f"{line}\n" for line in settings))
        self.write("advanced.config", _ADVANCED)
        self.write("plugins", f"[{','.join(plugins)}].\n")

    def close(self, *, keep: bool = False) -> None:
        """Release the folder; removes a temporary one unless *keep* is true, so that its logs can be read."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1
        if self.temporary and not keep:
            shutil.rmtree(self.path, ignore_errors=True)

    def _open(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Guards inherit the descriptor: the folder stays locked while a broker runs there, whoever started it.
        self.lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        flock(self.lock, LOCK_EX | LOCK_NB)
        known = self.path / _IDENTITY
        if not known.exists():
            name = f"clusterbus-{token_hex(4)}"
            self._save(Identity(name=name, password=token_hex(16), cookie=token_hex(16), ports=_pick_ports()))
            return
        self._identity = Identity.model_validate_json(known.read_bytes())
        if set(self._identity.ports) != set(_PORTS) or not all(map(is_free, self._identity.ports.values())):
            self.move()

    def _save(self, identity: Identity) -> None:
        self._identity = identity
        self.write(_IDENTITY, identity.model_dump_json())
