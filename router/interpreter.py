"""The command lines that start our own programs, safe from files in the current directory.

Without `-P`, `python -m shim.relay` first searches the current directory for a module or folder `shim`, and runs that,
even as root.  The programs keep the current directory of the user: relative paths in settings, options and URLs start
there.
"""

import site
import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = sys.executable
"""The interpreter that runs this process."""


def module(name: str, *words: str) -> list[str]:
    """Return the command line that runs our installed module *name* with *words*."""
    return [PROGRAM, "-P", *_without_user_site(), "-m", name, *words]


def file(path: Path | str, *words: str, options: Sequence[str] = ("-I",)) -> list[str]:
    """Return the command line that runs the file *path* with *words*, isolated; `-IS` in *options* starts faster.

    The program can import installed modules, or with `-IS` only the standard library, but none from its own folder.
    """
    return [PROGRAM, *options, str(path), *words]


def _without_user_site() -> list[str]:
    """Leave out modules from the user's home folder, unless clusterbus itself is installed there."""
    home = site.getusersitepackages()
    return [] if Path(__file__).resolve().is_relative_to(Path(home).resolve()) else ["-s"]
