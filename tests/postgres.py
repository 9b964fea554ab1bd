"""A PostgreSQL of the tests' own, which listens on a socket of its own only, and empty databases in it."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tests import postgres_guard
from tests.waiting import wait_for

_PACKAGED = Path("/usr/lib/postgresql")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class Missing(Exception):
    """No PostgreSQL can run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs; its data and its socket are in *folder*."""

    folder: Path

    @property
    def url(self) -> str:
        """The address of the database that all of it shares."""
        return f"postgresql://me@/postgres?host={self.folder}"

    @contextmanager
    def schema(self) -> Iterator[str]:
        """Give the address of what is as good as an empty database, and is made two hundred times as quickly."""
        name = f"t{uuid4().hex[:12]}"
        self._execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{self.url}&options=-csearch_path%3D{name}"
        finally:
            # A consumer that a test has killed may not be gone yet for the server, and would hold its locks.
            self.disconnect()
            self._execute(f"DROP SCHEMA {name} CASCADE")

    def disconnect(self) -> None:
        """Cut all connections to it, as a restart would."""
        self._execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def answers(self) -> bool:
        """Say whether it takes connections."""
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: Any) -> None:
        with psycopg.connect(host=str(self.folder), user="me", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def started() -> Iterator[Server]:
    """Give one that runs until the block ends.  Raises Missing."""
    tools = _tools()
    folder = Path(tempfile.mkdtemp(prefix="clusterbus-postgresql-"))
    try:
        prefix = _as_another(folder)
        initdb = [*prefix, tools / "initdb", "-D", folder / "data", "-U", "me", "--auth=trust", "-N", "-E", "UTF8"]
        subprocess.run(initdb, check=True, cwd=folder, env=_ENVIRONMENT, stdout=subprocess.DEVNULL)
        settings = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]
        command = [*prefix, tools / "postgres", "-D", folder / "data", *settings]
        with _guarded(folder, command) as guard:
            server = Server(folder)
            wait_for(lambda: guard.poll() is not None or server.answers(), 30, "PostgreSQL answers")
            assert guard.poll() is None, (folder / "log").read_text()
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
