"""Files that people write: their content, bounded in size, and obeyed only if nobody else could have written it.

Devices, pipes and endless files are refused.  Of a folder, some files are read, and the others are named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from .. import trust
from ..errors import SettingsError

LARGEST = 262_144
"""Octets of a file at most."""

YAML = (".yaml", ".yml")
"""The suffixes of YAML files, in lower case; upper case is read too."""


def read(path: Path | str) -> bytes:
    """Return the content of the regular file *path*; never block.

    Raises SettingsError, which says what is wrong and leaves the path to the caller.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise SettingsError("is not a regular file")
            if found := trust.problem(path, stream.fileno()):
                raise SettingsError(f"is not read: {found}")
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}") from error
    except ValueError:
        raise SettingsError("cannot be read: its path holds a NUL character") from None
    if len(content) > LARGEST:
        raise SettingsError(f"has more than {LARGEST} octets: split it")
    return content


def left_out(paths: Sequence[Path] | Path, suffixes: Collection[str] = ()) -> Iterator[tuple[Path, str]]:
    """Yield what lies in the folders of *paths* and is not read, with the reason; *suffixes* are read besides YAML.

    Hidden files are left out silently: editors and version control put them there.
    """
    listed = ", ".join(f"*{suffix}" for suffix in (*YAML, *suffixes))
    for folder in [paths] if isinstance(paths, Path) else paths:
        with suppress(OSError):
            for each in in_folder(folder):
                if is_read(each, suffixes):
                    continue
                if each.is_dir():
                    yield (
                        each,
                        "is not read, nor is what it holds: move its files up, or name it as a folder of its own",
                    )
                else:
                    yield each, f"is not read: only {listed} are; rename it, or move it out of the folder"


def is_read(path: Path, suffixes: Collection[str] = ()) -> bool:
    """Return whether *path* would be read in a folder, by its name; *suffixes* are read besides YAML."""
    return path.suffix.lower() in (*YAML, *suffixes)


def in_folder(folder: Path) -> list[Path]:
    """Return what *folder* holds, without what is hidden or made by Python; nothing if it is a file."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if not each.name.startswith(".") and each.name != "__pycache__")
