"""Writes batches of events to a file and syslog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...deliveries import Delivery, Report
from ..interface import Handler
from .lines import LinesFile
from .options import LogOptions
from .syslog import Syslog


class LogHandler(Handler):
    """Writes events to a file and syslog; *is_audited* means that the store writes them to its audit too.

    *has_lines* means that it writes anywhere else.  One thread may call `write` at a time.
    """

    is_contained = True

    def __init__(self, verb: LogOptions) -> None:
        """Write to the file and the syslog of *verb*, if set."""
        self._verb = verb
        self._syslog = Syslog(verb.syslog) if verb.syslog else None
        self._lines = LinesFile(verb.file) if verb.file else None
        self.is_audited = verb.store
        self.has_lines = bool(self._syslog or self._lines)

    def write(self, deliveries: Sequence[Delivery]) -> None:
        """Write the events of *deliveries* to syslog and the file.

        Raises OSError; then write all of them again.  Lines that syslog already accepted will appear twice.
        """
        # Syslog first: if it fails, the file is unchanged.
        if self._syslog and deliveries:
            self._syslog.append(deliveries)
        if self._lines and deliveries:
            self._lines.append(deliveries)

    def __call__(self, delivery: Delivery) -> Report:
        """Write one event."""
        self.write([delivery])
        return Report()

    def plan(self, delivery: Delivery) -> Mapping[str, object]:  # noqa: ARG002 - the same for all
        """Return where the event would be written."""
        file = {"file": str(self._verb.file)} if self._verb.file else {}
        syslog = {"syslog": self._verb.syslog.address} if self._verb.syslog else {}
        return {"store": self.is_audited, **file, **syslog}

    def close(self) -> None:
        """Close the socket of the syslog."""
        if self._syslog:
            self._syslog.close()
