"""The content of a file that a person wrote, bounded in size.  Devices, pipes and endless files are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import SettingsError

LARGEST = 262_144
"""Octets of a file at most."""


def read(path: Path | str) -> bytes:
    """Return the content of the regular file *path*; never block.

    Raises SettingsError, which says what is wrong and leaves the path to the caller.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise SettingsError("is not a regular file")
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}") from error
    except ValueError:
        raise SettingsError("cannot be read: its path holds a NUL character") from None
    if len(content) > LARGEST:
        raise SettingsError(f"has more than {LARGEST} octets: split it")
    return content
