"""Build the packages: `python -m packages --to dist`; prints the checksum and the path of each."""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from router.cluster.nodes.release import Release, release
from router.errors import RouterError, Unreachable

from . import hub_package, node_package
from .nfpm import FORMATS, Format, moment_of


def main(arguments: list[str] | None = None) -> int:
    """Build the packages that *arguments* ask for; return the exit code."""
    parser = argparse.ArgumentParser(prog="packages", description="Build the packages of clusterbus.")
    parser.add_argument("--to", type=Path, default=Path("dist"), help="the folder to write to (default: dist)")
    parser.add_argument("--format", action="append", choices=FORMATS, help="deb or rpm (default: both)")
    parser.add_argument("--package", action="append", choices=("node", "hub"), help="node or hub (default: both)")
    asked = parser.parse_args(arguments)
    try:
        asked.to.mkdir(parents=True, exist_ok=True)
        moment = moment_of(os.environ)
        for path in _built(asked.package or ("node", "hub"), tuple(asked.format or FORMATS), asked.to, moment):
            sys.stdout.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n")
            sys.stdout.flush()
    except (RouterError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 3 if isinstance(error, Unreachable) else 1
    return 0


def _built(packages: tuple[str, ...], forms: tuple[Format, ...], folder: Path, moment: int) -> Iterator[Path]:
    of: Release = release()
    if "node" in packages:
        for form in forms:
            yield node_package.build(form, folder, of, moment)
    if "hub" in packages:
        yield from hub_package.build(forms, folder, of, moment)


if __name__ == "__main__":
    sys.exit(main())
