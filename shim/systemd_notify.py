"""Notifications to systemd: ready, alive, stopping, status.  Without systemd, nothing is sent."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


_PATIENCE = 1.0
"""Seconds to wait for room in the socket of a systemd that is busy: a lost `ready` would end in a restart."""


class SystemdNotifier:
    """Sends the notifications of sd_notify(3)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read the socket and the watchdog interval from *environment*, where systemd sets them."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""
        interval = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        # Half of systemd's watchdog interval, in seconds; None without a watchdog.
        self.alive_every = int(interval) / 2e6 if interval.isdigit() and int(interval) and ours else None

    def ready(self) -> None:
        """Report that the service has started."""
        self._send("READY=1")

    def alive(self) -> None:
        """Report that the event loop is running."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1")

    def status(self, sentence: str) -> None:
        """Report the state in one *sentence*; sent only when it changes."""
        if sentence != self._status:
            self._status = sentence
            self._send(f"STATUS={sentence}")

    def _send(self, what: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.settimeout(_PATIENCE)
                line.sendto(what.encode(), self._address)
