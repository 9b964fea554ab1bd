"""Outages of a database: a program that runs on says once that one has begun, and once that it is over."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

log = logging.getLogger(__name__)


class Outage:
    """Whether a database can be used, for all threads of a program; *reason*, which names it, is empty while it can."""

    def __init__(self) -> None:
        """Begin without one; nothing is logged until `report`."""
        self._lock = threading.Lock()
        self._is_reported = False
        self._since = 0.0
        self._of_writing = False
        self.reason = ""

    def report(self) -> None:
        """Log from now on when an outage begins, and when it ends."""
        self._is_reported = True

    def begin(self, reason: str, *, writing: bool) -> None:
        """Note that the database cannot be used, for *reason*; *writing* if it might still be read."""
        with self._lock:
            begins, self._of_writing = not self.reason, self._of_writing or writing
            if not begins:
                return
            self.reason, self._since = reason, time.monotonic()
        if self._is_reported:
            log.error("the database cannot be used, its work waits", extra={"reason": reason})

    def end(self, *, writing: bool) -> None:
        """Note that the database was read, or where *writing* is set, written."""
        if not self.reason:
            return
        with self._lock:
            if not self.reason or (self._of_writing and not writing):
                return
            ended, self.reason, self._of_writing = self.reason, "", False
            lasted = timedelta(seconds=round(time.monotonic() - self._since, 1))
        if self._is_reported:
            log.warning("the database can be used again", extra={"reason": ended, "lasted": str(lasted)})
