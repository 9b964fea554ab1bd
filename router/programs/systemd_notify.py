"""Notifications to systemd: ready, alive, reloading, stopping, status.  Without systemd, nothing is sent."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from datetime import timedelta

_PATIENCE = 1.0
"""Seconds to wait for room in the socket of a systemd that is busy: a lost `ready` would hold up the start for ever."""


class Notifier:
    """Sends the notifications of sd_notify(3); each may be sent from any thread."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take socket and watchdog interval out of *environment*, so that child processes do not speak for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        interval, process = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_ours = process in ("", str(os.getpid())) and interval.isdigit() and int(interval) > 0
        self.limit = timedelta(microseconds=int(interval)) if is_ours else None
        """After so much time without `alive`, systemd restarts the program; None if it does not."""

    def ready(self) -> None:
        """Report that the program has started, or that it has reloaded."""
        self._send("READY=1")

    def alive(self) -> None:
        """Report that the program's loop turns."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that the program reloads, until `ready`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report that the program is stopping."""
        self._send("STOPPING=1")

    def status(self, sentence: str) -> None:
        """Report the state in one *sentence*, which `systemctl status` shows."""
        self._send(f"STATUS={sentence}")

    def _send(self, what: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.settimeout(_PATIENCE)
                line.sendto(what.encode(), self._address)
