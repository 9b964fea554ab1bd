"""The verb `call`: its options, and the handler made from them."""

from __future__ import annotations

from functools import partial

from ..interface import Handler, Surroundings
from .options import CallOptions


class CallVerb(CallOptions):
    """Call a Python function; its parameters are variables of the event with the same names.

    Short form: `call: site_handlers:warn`.
    """

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler.  Raises SubscriptionsError if the function does not exist on this machine."""
        from .function_handler import CallHandler  # noqa: PLC0415 - a check needs no handler
        from .isolated_handler import IsolatedHandler, SuspectHandler  # noqa: PLC0415 - as above

        if self.isolate:
            return IsolatedHandler(self, surroundings)
        return CallHandler(self, surroundings, partial(SuspectHandler, self, surroundings))
