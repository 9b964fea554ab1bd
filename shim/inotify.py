"""Notices of new files in a folder, through inotify, which the standard library does not offer."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_WRITTEN, _MOVED_TO, _OVERFLOW = 0x8, 0x80, 0x4000
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_HEAD = struct.Struct("iIII")


class FolderWatch:
    """Reports the files that appear in one folder; `fileno` becomes readable when there are some."""

    def __init__(self, folder: Path) -> None:
        """Start to watch *folder*; raises OSError if that fails."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._file: int = libc.inotify_init1(_NONBLOCK_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "inotify is not available: raise fs.inotify.max_user_instances")
        if libc.inotify_add_watch(self._file, os.fsencode(folder), _WRITTEN | _MOVED_TO) < 0:
            error = ctypes.get_errno()
            os.close(self._file)
            raise OSError(error, os.strerror(error), str(folder))

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._file

    def read(self) -> list[str] | None:
        """Return the names that appeared since the last call, or None if the kernel lost some: then scan the folder."""
        names: list[str] = []
        while True:
            try:
                notices = os.read(self._file, 65536)
            except BlockingIOError:
                return names
            at = 0
            while at < len(notices):
                _, mask, _, length = _HEAD.unpack_from(notices, at)
                at += _HEAD.size
                if mask & _OVERFLOW:
                    return None
                names.append(os.fsdecode(notices[at : at + length].rstrip(b"\0")))
                at += length

    def close(self) -> None:
        """Stop watching."""
        os.close(self._file)
