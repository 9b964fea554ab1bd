"""The journal of a job of steps: a line of JSON for each begin and end, on disk before anything follows from it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....processes.job_files import Job, sync_folder

NAME = "journal"


def entries(job: Job) -> list[Mapping[str, Any]]:
    """Return the entries of *job*, in their order.  A line that was being written when its writer died is left out."""
    try:
        lines = (job.path / NAME).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    found: list[Mapping[str, Any]] = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


class Journal:
    """Appends entries to the journal of one job."""

    def __init__(self, path: Path) -> None:
        """Append to the file *path*; an incomplete line at its end stays apart from what follows."""
        is_new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if is_new:
            sync_folder(path.parent)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def append(self, entry: Mapping[str, object]) -> None:
        """Write *entry* and sync it.  Raises OSError; then a part of it may be there, which does not count."""
        line = json.dumps(entry).encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            _write(self._file, line)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _write(file: int, line: bytes) -> None:
    written = os.write(file, line)
    if written != len(line):
        raise OSError(f"only {written} of {len(line)} octets could be written to the journal")
