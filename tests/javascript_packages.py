"""Programs in JavaScript, with the packages of `tests/javascript/package.json`.

The packages are installed once into the virtual environment of the tests, and again when their versions change.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "javascript"
_INSTALLED = Path(sys.prefix) / "javascript"
_OPTIONS = ("--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


@dataclass(frozen=True)
class JavaScript:
    """The packages, and *node* to run programs with them; *folder* is where a test's programs are put."""

    node: str
    folder: Path

    def run(self, program: Path, *words: str, given: str = "", environment: Mapping[str, str] | None = None) -> str:
        """Return what *program* prints when *given* is its input; fails where it fails."""
        done = subprocess.run(
            [self.node, self.put(program), *words],
            input=given,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def put(self, program: Path) -> Path:
        """Return where *program* finds the packages: a copy in the test's folder."""
        copy = self.folder / program.name
        shutil.copy(program, copy)
        packages = self.folder / "node_modules"
        if not packages.exists():
            packages.symlink_to(_INSTALLED / "node_modules")
        return copy


def installed(npm: str, node: str, folder: Path) -> JavaScript:
    """Return the packages for programs in *folder*; one process at a time installs them with *npm*."""
    _INSTALLED.mkdir(exist_ok=True)
    wanted, stamp = (SOURCES / "package.json").read_bytes(), _INSTALLED / "installed.json"
    with (_INSTALLED / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != wanted:
            (_INSTALLED / "package.json").write_bytes(wanted)
            done = subprocess.run(
                [npm, "install", *_OPTIONS], cwd=_INSTALLED, capture_output=True, text=True, timeout=100, check=False
            )
            assert done.returncode == 0, done.stderr[-4000:]
            stamp.write_bytes(wanted)
    return JavaScript(node, folder)
