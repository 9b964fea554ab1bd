"""The packages of the release before this one, built from its commit in the history of the project, and its page."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from router.cluster.nodes.release import release

COMMIT = "36c5b4f5fb7305260c512abeb793646cb88ae885"
"""The release before this one: the last state of the project that sites could install.  A tag, once there are tags."""
VERSION = "0.0.9"
"""What its packages are called here, as it has the version of this one until a version is published."""

_ROOT = Path(__file__).parents[2]
_VERSIONED = ("pyproject.toml", "shim/capture.py")
_LIMIT = 1500


@dataclass(frozen=True)
class EarlierRelease:
    """What a site had before: its *packages*, debs and rpms, and the *page* by which it was installed."""

    packages: Sequence[Path]
    page: Path


def is_in_history() -> bool:
    """Say whether the commit is here: a clone may be shallow, and an archive has no history."""
    return _git("cat-file", "-e", f"{COMMIT}^{{commit}}").returncode == 0


def build(folder: Path) -> None:
    """Build the packages in the empty *folder*."""
    source = folder / "source"
    with tarfile.open(fileobj=io.BytesIO(_git("archive", COMMIT).stdout)) as archive:
        archive.extractall(source, filter="data")
    for name in _VERSIONED:
        file = source / name
        file.write_text(file.read_text().replace(f' = "{release().version}"', f' = "{VERSION}"', 1))
    words = [sys.executable, "-m", "packages", "--to", str(folder / "packages")]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True, timeout=_LIMIT, check=False)
    assert done.returncode == 0, done.stderr


def built(folder: Path) -> EarlierRelease:
    """Return what was built in *folder*."""
    return EarlierRelease(sorted((folder / "packages").iterdir()), folder / "source" / "INSTALL.md")


def _git(*words: str) -> "subprocess.CompletedProcess[bytes]":
    # Hooks set variables that name another repository.
    variables = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(["git", *words], cwd=_ROOT, env=variables, capture_output=True, check=False)
