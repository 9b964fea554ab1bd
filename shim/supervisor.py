"""What systemd is told: ready, alive, stopping.  Without systemd, nothing is told to nobody."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Supervisor:
    """The other end of sd_notify(3)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Find systemd by *environment*, as it set it."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._told = ""
        interval = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        # Half of what systemd waits, in seconds; None where it does not wait.
        self.alive_every = int(interval) / 2e6 if interval.isdigit() and int(interval) and ours else None

    def ready(self) -> None:
        """Say that the work has begun."""
        self._tell("READY=1")

    def alive(self) -> None:
        """Say that the loop goes round."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the end is wanted."""
        self._tell("STOPPING=1")

    def status(self, sentence: str) -> None:
        """Say in one *sentence* how it goes; said only when it changes."""
        if sentence != self._told:
            self._told = sentence
            self._tell(f"STATUS={sentence}")

    def _tell(self, what: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)  # noqa: FBT003 - the socket's own interface
                line.sendto(what.encode(), self._address)
