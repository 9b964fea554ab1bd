"""The transport `record`: append the commands for nodes as JSON lines to a file, and run nothing."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path


def append(path: Path, facts: Mapping[str, object]) -> None:
    """Append *facts* as one complete line to *path*, despite other writers; raises OSError."""
    line = json.dumps(facts).encode() + b"\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        written = os.write(file, line)
        if written != len(line):
            os.ftruncate(file, size)
            raise OSError(f"only {written} of {len(line)} octets could be written to {path}")
    finally:
        os.close(file)
