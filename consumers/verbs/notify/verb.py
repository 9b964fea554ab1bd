"""The verb `notify`: its options, and the handler made from them."""

from __future__ import annotations

from ..interface import Handler, Surroundings
from .options import NotifyOptions


class NotifyVerb(NotifyOptions):
    """Send one message to each contact; retries go only to contacts that have not been notified."""

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler."""
        from .notify_handler import NotifyHandler  # noqa: PLC0415 - a check needs no apprise

        return NotifyHandler(self, surroundings)
