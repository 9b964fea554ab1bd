"""Where programs keep their state by default: each in a folder that belongs to its user.

Earlier releases kept all of it in `/var/lib/clusterbus`.  What is there goes on being used until it is moved, so that
no program starts with empty state after an upgrade.  Where the folders of programs do not exist, as in containers, that
one folder has all state as before.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic.config import JsonDict

STATE = Path("/var/lib/clusterbus")
ROUTER, CONSUMER = "router", "consumer"
_UP = "environment"
"""What `clusterbus up` leaves in its folder, which is STATE for root."""


def database(folder: str, name: str) -> Any:  # noqa: ANN401 - the default of any field
    """Return the default of a setting that names a database: the file *name* in *folder*."""
    shown: JsonDict = {"default": f"sqlite:///{STATE / folder / name}"}
    return Field(default_factory=lambda: f"sqlite:///{place(STATE, folder, name)}", json_schema_extra=shown)


def path(folder: str, name: str) -> Any:  # noqa: ANN401 - the default of any field
    """Return the default of a setting that names the file or folder *name* in *folder*."""
    shown: JsonDict = {"default": str(STATE / folder / name)}
    return Field(default_factory=lambda: place(STATE, folder, name), json_schema_extra=shown)


def place(state: Path, folder: str, name: str) -> Path:
    """Return the path of *name*: in *folder* of *state*, or in *state* itself if it is there, or *folder* is not."""
    former, current = state / name, state / folder / name
    if os.path.lexists(current):
        return current
    try:
        owner = former.lstat().st_uid
    except OSError:
        is_one_folder = state.is_dir() and not os.path.lexists(current.parent)
        return former if is_one_folder else current
    is_of_up = owner == 0 and os.path.lexists(state / _UP)
    return current if is_of_up else former
