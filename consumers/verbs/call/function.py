"""Calls a function in a thread of the consumer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ...deliveries import Delivery, Fold, Report
from ...errors import Rejected
from ...handlers import said
from .. import Handler, Surroundings
from . import CallVerb, results
from .arguments import Arguments
from .references import Target, Unusable, find

_NOTHING = Report()
"""What nearly all come to; reports never change, so that one does for all."""


class CallHandler(Handler):
    """Calls the function of one subscription; may be called from several threads at once, and so is the function."""

    def __init__(self, verb: CallVerb, surroundings: Surroundings) -> None:
        """Find the function and its parameters; raises SubscriptionsError where that is not possible."""
        self._verb = verb
        _, self._arguments, self._function = found(verb, surroundings)

    def __call__(self, delivery: Delivery) -> Report:
        """Call it; whatever it raises is a failure by the name of its class, but for Rejected."""
        return called(self._function, self._arguments, delivery)

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the function, and its arguments as they would be filled in."""
        return {"function": self._verb.function, "arguments": shown(self._arguments(delivery))}


def found(verb: CallVerb, surroundings: Surroundings) -> tuple[Target, Arguments, Callable[..., Any]]:
    """Return the function of *verb* and how it is filled in; raises SubscriptionsError of *surroundings*."""
    try:
        target = find(verb.function, surroundings.settings.consumers.handlers, verb.digest)
        return target, Arguments(target, verb.fixed, verb.parms, joined=verb.joined), target.make()
    except Unusable as error:
        place = ".".join(("call", *map(str, error.place)))
        raise surroundings.mistake(place, str(error)) from error


def called(function: Callable[..., Any], arguments: Arguments, delivery: Delivery) -> Report:
    """Call *function* for *delivery* and return what came of it; raises nothing but Rejected."""
    try:
        value = function(**arguments(delivery))
        if value is None:
            return _NOTHING
        if isinstance(value, Coroutine):
            value = asyncio.run(value)
        return results.reported(value)
    except Rejected as error:
        raise Rejected(said(error).partition(": ")[2]) from error
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt of a function are its failure too
        return results.failed(error)


def shown(arguments: Mapping[str, Any]) -> Mapping[str, object]:
    """Return *arguments* as plain values."""
    return {name: _plain(value) for name, value in arguments.items()}


def _plain(value: Any) -> object:  # noqa: ANN401 - what an argument may be
    if isinstance(value, Fold):
        return dataclasses.asdict(value)
    return value.as_dict() if hasattr(value, "as_dict") else value
