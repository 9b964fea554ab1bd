"""The verb `scripts`."""

from __future__ import annotations

from .. import Handler, Surroundings, Verb


class ScriptsVerb(Verb):
    """Run what a folder of handlers maps to the event."""

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what does it."""
        raise NotImplementedError
