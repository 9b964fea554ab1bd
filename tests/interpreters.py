"""Which Pythons are on this machine: what nodes run has to run on the oldest of them as on the newest."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_NAME = re.compile(r"python(2\.7|3\.(\d+))\Z")


def interpreters(*, oldest: int = 6, with_2_7: bool = False) -> dict[str, str]:
    """Return them by version, from 3.*oldest* on: on the PATH, of pyenv, and beside the one that runs this."""
    found: dict[str, str] = {}
    for path in sorted(_candidates()):
        version = _NAME.match(path.name)
        if version is None or not os.access(path, os.X_OK):
            continue
        if with_2_7 if version[2] is None else int(version[2]) >= oldest:
            found.setdefault(version[1], str(path))
    return found


def _candidates() -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if Path(folder).name != "shims":  # of pyenv: they are for versions that may not be chosen
            yield from Path(folder).glob("python[23].*")
    versions = [Path(sys.base_prefix).parent]
    if "PYENV_ROOT" in os.environ:
        versions.append(Path(os.environ["PYENV_ROOT"]) / "versions")
    for folder in versions:
        yield from folder.glob("*/bin/python[23].*")
    yield Path(sys.base_prefix) / f"bin/python3.{sys.version_info.minor}"
