"""The verb `scripts`: its options, and the handler made from them."""

from __future__ import annotations

from ..interface import Handler, Surroundings
from .options import ScriptsOptions


class ScriptsVerb(ScriptsOptions):
    """Run the programs that the `handlers.conf` of each folder maps to the event; they get it on standard input."""

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler.  Raises SubscriptionsError if programs cannot run as `user`."""
        from .scripts_handler import ScriptsHandler  # noqa: PLC0415 - a check needs no processes

        return ScriptsHandler(self, surroundings)
