"""The verb `post`: its options, and the handler made from them."""

from __future__ import annotations

from ..interface import Handler, Surroundings
from .options import PostOptions


class PostVerb(PostOptions):
    """Send the event to a webhook; 2xx is done, statuses in `retry_on` are retried, all others are dead-lettered."""

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler.  Raises SubscriptionsError if `verify` names no certificates."""
        from .post_handler import PostHandler  # noqa: PLC0415 - a check needs no HTTP

        return PostHandler(self, surroundings)
