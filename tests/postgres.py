"""A PostgreSQL of the tests' own, which listens on a socket of its own only, and empty databases in it."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from router.local_broker.ports import free_ports
from tests import postgres_guard
from tests.waiting import wait_for

_PACKAGED = Path("/usr/lib/postgresql")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class Missing(Exception):
    """No PostgreSQL can run here; the text says why."""


class Server:
    """One whose data and socket are in *folder*; with a *port*, it listens on 127.0.0.1 too."""

    def __init__(self, folder: Path, prefix: Sequence[str], tools: Path, port: int = 0) -> None:
        self.folder, self._prefix, self._tools, self._port = folder, prefix, tools, port
        self._guards = ExitStack()

    @property
    def url(self) -> str:
        """The address of the database that all of it shares."""
        return f"postgresql://me@/postgres?host={self.folder}&port={self._port or 5432}"

    @property
    def tcp_url(self) -> str:
        """The same, by TCP, as a proxy needs it."""
        return f"postgresql://me@127.0.0.1:{self._port}/postgres?application_name=test"

    def start(self) -> None:
        """Run it; returns when it answers."""
        listen = "127.0.0.1" if self._port else ""
        settings = {"listen_addresses": listen, "port": self._port or 5432, "fsync": "off", "max_connections": 200}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [*self._prefix, self._tools / "postgres", "-D", self.folder / "data", "-k", self.folder, *options]
        guard = self._guards.enter_context(_guarded(self.folder, command))
        wait_for(lambda: guard.poll() is not None or self.answers(), 30, "PostgreSQL answers")
        assert guard.poll() is None, (self.folder / "log").read_text()

    def stop(self) -> None:
        """End it, and all its connections, at once; its data stay, and `start` runs it again."""
        os.kill(self._pid, signal.SIGINT)
        wait_for(lambda: not (self.folder / "data" / "postmaster.pid").exists(), 30, "PostgreSQL has ended")

    def pause(self) -> None:
        """Stop all its processes where they are, as `docker pause` does; `resume` lets them go on."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # The parent first: it starts no more children then.
        os.kill(self._pid, number)
        for each in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(each.read_text().rpartition(")")[2].split()[1]) == self._pid:
                    os.kill(int(each.parent.name), number)

    @property
    def _pid(self) -> int:
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def close(self) -> None:
        """End it for good."""
        with suppress(OSError):
            self.resume()
        self._guards.close()

    def set(self, name: str, value: str) -> None:
        """Set a parameter of the whole server, from now on."""
        self.execute(f"ALTER SYSTEM SET {name} = {value}")
        self.execute("SELECT pg_reload_conf()")

    @contextmanager
    def schema(self) -> Iterator[str]:
        """Give the address of what is as good as an empty database, and is made two hundred times as quickly."""
        name = f"t{uuid4().hex[:12]}"
        self.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{self.url}&options=-csearch_path%3D{name}"
        finally:
            # A consumer that a test has killed may not be gone yet for the server, and would hold its locks.
            self.disconnect()
            self.execute(f"DROP SCHEMA {name} CASCADE")

    def disconnect(self) -> None:
        """Cut all connections to it, as a restart would."""
        self.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def answers(self) -> bool:
        """Say whether it takes connections."""
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def execute(self, statement: Any, database: str = "postgres") -> None:
        """Do *statement* in *database*, past all proxies."""
        where = {"host": str(self.folder), "port": self._port or 5432}
        with psycopg.connect(**where, user="me", dbname=database, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def started(*, on_tcp: bool = False) -> Iterator[Server]:
    """Give one that runs until the block ends.  Raises Missing."""
    tools = _tools()
    folder = Path(tempfile.mkdtemp(prefix="clusterbus-postgresql-"))
    try:
        prefix = _as_another(folder)
        initdb = [*prefix, tools / "initdb", "-D", folder / "data", "-U", "me", "--auth=trust", "-N", "-E", "UTF8"]
        subprocess.run(initdb, check=True, cwd=folder, env=_ENVIRONMENT, stdout=subprocess.DEVNULL)
        with closing(Server(folder, prefix, tools, free_ports(1)[0] if on_tcp else 0)) as server:
            server.start()
            yield server
    finally:
        # The guard has removed it, if there was one.
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _guarded(folder: Path, command: Sequence[str | Path]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the server until the block or pytest ends."""
    with (folder / "log").open("wb") as log:
        guard = subprocess.Popen(
            [sys.executable, "-IS", postgres_guard.__file__, folder, *command],
            cwd=folder,
            env=_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # Leaving it closes its standard input and waits.
    with guard:
        yield guard


def _tools() -> Path:
    """Return the folder of its programs: Debian keeps those of each release apart, outside PATH."""
    packaged = sorted(_PACKAGED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = packaged[-1] if packaged else shutil.which("initdb")
    if found is None:
        raise Missing("PostgreSQL is not installed")
    return Path(found).parent


def _as_another(folder: Path) -> list[str]:
    """Give *folder* to the user that it may run as, and return what its commands begin with; it refuses to be root."""
    if os.geteuid() != 0:
        return []
    try:
        owner = pwd.getpwnam("postgres")
    except KeyError:
        raise Missing("PostgreSQL does not run as root, and there is no user postgres") from None
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--"]
