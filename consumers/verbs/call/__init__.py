"""The verb `call`."""

from __future__ import annotations

from .. import Handler, Surroundings, Verb


class CallVerb(Verb):
    """Call a Python function."""

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what does it."""
        raise NotImplementedError
