"""The verb `post`."""

from __future__ import annotations

from .. import Handler, Surroundings, Verb


class PostVerb(Verb):
    """Call a webhook."""

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what does it."""
        raise NotImplementedError
