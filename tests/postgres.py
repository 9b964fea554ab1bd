"""A PostgreSQL of a test's own, that listens on a socket of its own only."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """Give the address of one that keeps its data in *folder*, or skip the test where none can be run."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = found[-1] if found else shutil.which("initdb")
    if initdb is None:
        pytest.skip("no PostgreSQL is installed")
    tools = Path(initdb).parent
    # It refuses to run as root.
    as_root = os.geteuid() == 0
    options = {"user": "postgres", "group": "postgres", "extra_groups": []} if as_root else {}
    if as_root:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL can't run as root, and there is no user postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        for parent in list(folder.parents)[:-2]:
            parent.chmod(parent.stat().st_mode | 0o011)
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    data, log = folder / "data", folder / "log"

    def call(tool, *words):
        subprocess.run(
            [tools / tool, "-D", data, *words],
            check=True,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            **options,
        )

    call("initdb", "-U", "me", "--auth=trust", "-N")
    call("pg_ctl", "-w", "-l", log, "-o", f"-k {folder} -c listen_addresses= -c fsync=off", "start")
    try:
        yield f"postgresql://me@/postgres?host={folder}"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")
