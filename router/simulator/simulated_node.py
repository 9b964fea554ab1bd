"""The files of a simulated node on this machine's disk."""

import os
import tempfile
from pathlib import Path

from .errors import CommandRefused


class Node:
    """The files of one node on this machine's disk: a root for its own files, a spool, a log."""

    def __init__(self, folder: Path, name: str) -> None:
        """Use *folder*; nothing is read or written yet."""
        self.folder, self.name = folder, name
        self.root = folder / "root"
        self.spool = folder / "spool"
        self.log = folder / "mmfs.log"

    def install(self, path: str, content: bytes | str, mode: int = 0o755) -> Path:
        """Write a file at the absolute *path* of this node, completely or not at all; return its real path."""
        place = self._inside(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=place.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(aside, mode)  # noqa: PTH101 - a name, not a path
        Path(aside).replace(place)
        return place

    def find(self, path: str) -> Path:
        """Return the real path of the absolute *path* of this node: in its root, or on this machine."""
        inside = self._inside(path)
        return inside if inside.exists() else Path(path)

    def _inside(self, path: str) -> Path:
        if not path.startswith("/") or ".." in path.split("/"):
            raise CommandRefused(f"{path!r} is not an absolute path without '..'")
        return self.root / path.lstrip("/")
