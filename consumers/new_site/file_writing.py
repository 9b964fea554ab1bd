"""Writes the files of a new site: each completely or not at all, and never over another one unless told."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from router import file_modes
from router.errors import SettingsError

from .site_files import SiteFile

Standing = Literal["new", "same", "differs"]


def standing(file: SiteFile) -> Standing:
    """Return whether *file* is new, is there already, or differs from what is there.  Raises SettingsError."""
    try:
        return "same" if file.path.read_bytes() == file.content else "differs"
    except FileNotFoundError:
        return "new"
    except OSError as error:
        raise SettingsError(f"{file.path}: cannot be read: {error.strerror}") from error


def changes(file: SiteFile) -> str:
    """Return the difference between what is at the path of *file* and its content."""
    before, after = (each.decode(errors="replace").splitlines() for each in (file.path.read_bytes(), file.content))
    return "\n".join(difflib.unified_diff(before, after, "is there", "would be written", lineterm=""))


def write(file: SiteFile, *, replace: bool) -> None:
    """Write *file*, with its folders; only with *replace* over an existing one.  Raises SettingsError."""
    try:
        file_modes.write_shared_file(file.path, file.content, replace=replace)
    except OSError as error:
        raise SettingsError(f"{file.path}: cannot be written: {error.strerror}") from error


def make_closed_folder(path: Path) -> None:
    """Create the folder *path* for its owner alone, and its parents for all to read.  Raises SettingsError."""
    try:
        file_modes.make_shared_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be created: {error.strerror}") from error
