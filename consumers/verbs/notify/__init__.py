"""The verb `notify`."""

from __future__ import annotations

from .. import Handler, Surroundings, Verb


class NotifyVerb(Verb):
    """Tell people."""

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what does it."""
        raise NotImplementedError
