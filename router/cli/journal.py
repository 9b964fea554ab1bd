"""The systemd journal: each line that goes there begins with its priority, so that `journalctl -p warning` finds it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TextIO

ERROR = 3
"""The journal's number for errors."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, ERROR), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


def is_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether *stream* goes to the journal: systemd names its device and inode in `JOURNAL_STREAM`."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def priority(level: int) -> int:
    """Return the journal's priority of a log *level*.

    >>> [priority(each) for each in (logging.CRITICAL, logging.WARNING, logging.DEBUG)]
    [2, 4, 7]
    """
    return next((number for lowest, number in _PRIORITIES if level >= lowest), _DEBUG)


def marked(text: str, number: int) -> str:
    r"""Return *text* with the priority *number* before each line.

    >>> marked("two\nlines", 3)
    '<3>two\n<3>lines'
    """
    return "\n".join(f"<{number}>{line}" for line in text.split("\n"))
