"""Says of a socket that nobody closed which test opened it, and where: the collector finds it in some later test."""

import os
import socket
import sys
from types import FrameType
from typing import Any, Final

_FRAMES: Final = 12
_OURS: Final = ("tests", "router", "shim", "consumers")

_opened: dict[int, str] = {}
"""By the number of each open socket's file."""


def install() -> None:
    """From now on, the text of a socket names who opened it."""
    initialize, describe = socket.socket.__init__, socket.socket.__repr__

    def opened(self: socket.socket, *arguments: Any, **options: Any) -> None:
        initialize(self, *arguments, **options)
        _opened[self.fileno()] = f"{os.environ.get('PYTEST_CURRENT_TEST', 'no test')} at {_callers()}"

    def described(self: socket.socket) -> str:
        return f"{describe(self)} opened by {_opened.get(self.fileno(), 'nobody known')}"

    socket.socket.__init__ = opened  # type: ignore[method-assign]
    socket.socket.__repr__ = described  # type: ignore[method-assign]


def _callers() -> str:
    frame: FrameType | None = sys._getframe(2)
    found: list[str] = []
    while frame is not None and len(found) < _FRAMES:
        parts = frame.f_code.co_filename.rsplit("/", 3)
        if any(part in _OURS for part in parts) or "pika" in parts:
            found.append(f"{parts[-1]}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found)
