"""What tests share that run a program as another user of this machine; only root can."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Give an empty folder that every user can reach: those above pytest's own folders are closed."""
    with tempfile.TemporaryDirectory(prefix="clusterbus-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run_as(user: int, group: int, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run *words* with the numbers *user* and *group*, and no other groups."""
    identity = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    return subprocess.run([*identity, *words], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
