"""The verb `log`: its options, and the handler made from them."""

from __future__ import annotations

from ..interface import Handler, Surroundings
from .options import LogOptions


class LogVerb(LogOptions):
    """Write the event to the audit in the store, as a line of JSON to *file*, and as a line to *syslog*."""

    def handler(self, surroundings: Surroundings) -> Handler:  # noqa: ARG002 - the protocol
        """Return the handler."""
        from .log_handler import LogHandler  # noqa: PLC0415 - commands that only read subscriptions call nothing

        return LogHandler(self)
