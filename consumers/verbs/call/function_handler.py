"""Calls a function in a thread of the consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ...config.python_files import error_text
from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...policies.consumer_deaths import SUSPECT, deaths_in
from ..interface import Handler, Surroundings
from . import results
from .arguments import Arguments
from .options import CallOptions
from .references import Target, Unusable, find

_NOTHING = Report()
"""The report of most calls; reports are immutable, so one object serves all of them."""


class CallHandler(Handler):
    """Calls the function of one subscription; several threads may call it, and the function, at once."""

    def __init__(
        self, verb: CallOptions, surroundings: Surroundings, isolated: Callable[[], Handler] | None = None
    ) -> None:
        """Find the function and its parameters; raises SubscriptionsError if that fails.

        *isolated* makes the handler of deliveries during which consumers died.
        """
        self._verb, self._isolated = verb, isolated
        _, self._arguments, self._function = found(verb, surroundings)

    def __call__(self, delivery: Delivery) -> Report | None:
        """Call the function; anything that it raises except Rejected is a failure with the name of its class.

        For a delivery during which consumers died it is called in a process of its own.
        """
        if self._isolated and delivery.earlier and deaths_in([delivery.earlier]) >= SUSPECT:
            return self._isolated()(delivery)
        return called(self._function, self._arguments, delivery)

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the function and the arguments that it would get."""
        return {"function": self._verb.function, "arguments": shown(self._arguments(delivery))}


def found(verb: CallOptions, surroundings: Surroundings) -> tuple[Target, Arguments, Callable[..., Any]]:
    """Return the target, the arguments and the function of *verb*; raises SubscriptionsError if there is none."""
    try:
        target = find(verb.function, surroundings.settings.consumers.handlers, verb.digest)
        return target, Arguments(target, verb.fixed, verb.parms, joined=verb.joined), target.make()
    except Unusable as error:
        place = ".".join(("call", *map(str, error.place)))
        raise surroundings.mistake(place, str(error)) from error


def called(function: Callable[..., Any], arguments: Arguments, delivery: Delivery) -> Report:
    """Call *function* for *delivery* and return its report; raises only Rejected."""
    try:
        value = function(**arguments(delivery))
        if value is None:
            return _NOTHING
        if isinstance(value, Coroutine):
            value = asyncio.run(value)
        return results.reported(value)
    except Rejected as error:
        raise Rejected(error_text(error).partition(": ")[2], results.of_rejected(error)) from error
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt of a function are its failure too
        return results.failed(error)


def shown(arguments: Mapping[str, Any]) -> Mapping[str, object]:
    """Return *arguments* as plain values."""
    return {name: _plain(value) for name, value in arguments.items()}


def _plain(value: Any) -> object:  # noqa: ANN401 - what an argument may be
    return value.as_dict() if hasattr(value, "as_dict") else value
