"""What the relay tells of its connection: a line for `systemctl status`, and a file in the spool that root reads.

The file is JSON on one line.  It is written when something changes, and at least until the time in *until*: an older
one is of a relay that is stuck, or cannot write.  A relay that ends in good order removes it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .systemd_notify import SystemdNotifier

log = logging.getLogger("clusterbus.relay.connection_report")

NAME = "connection"
_LARGEST = 1000


class ConnectionReport:
    """Whether the relay is connected, to which broker, since when, and if not, why."""

    def __init__(self, spool: Path, systemd: SystemdNotifier, lasting: float) -> None:
        """Write into *spool*, and tell *systemd*; what was written counts for *lasting* seconds."""
        self._file, self._systemd, self._lasting = spool / NAME, systemd, lasting
        self._broker, self._problem, self._since = "", "no connection was attempted yet", time.time()
        self._is_written = True

    def note(self, broker: str, problem: str) -> bool:
        """Note that *broker* takes records, or the *problem* with it; return whether that is news.

        Without a broker and a problem, the relay is idle: it connects when there is something to send.
        """
        if (broker, problem) == (self._broker, self._problem):
            return False
        if bool(problem) != bool(self._problem):
            self._since = time.time()
        self._broker, self._problem = broker, problem
        return True

    def write(self, files: int) -> None:
        """Write what is known, with the number of *files* that wait in the spool."""
        since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self._since))
        if self._problem:
            self._systemd.status(f"problem: {self._problem} ({self._broker}), since {since}; {files} records wait")
        else:
            where = f"connected to {self._broker}" if self._broker else "idle, not connected"
            self._systemd.status(f"{where} since {since}; {files} records wait")
        facts = {
            "broker": self._broker,
            "problem": self._problem[:_LARGEST],
            "since": int(self._since),
            "until": int(time.time() + self._lasting),
        }
        fresh = self._file.with_name(f"{NAME}.new")
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            with open(fd, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
                stream.write(json.dumps(facts) + "\n")
            fresh.replace(self._file)
        except OSError as error:
            if self._is_written:
                log.warning("cannot write the state of the connection", extra={"error": str(error)})
            self._is_written = False
        else:
            self._is_written = True

    def remove(self) -> None:
        """Remove the file: the relay has ended."""
        with contextlib.suppress(OSError):
            self._file.unlink()
