"""The arguments of a function, from the names of its parameters: found out once, then only filled in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from router.events import Value

from ...deliveries import Delivery
from ...errors import did_you_mean
from ...kinds import Kinds, Remark, named
from .references import Target, Unusable

GIVEN: Mapping[str, Callable[[Delivery], object]] = {
    "event": lambda delivery: delivery.event,
    "fold": lambda delivery: delivery.fold,
    "attempt": lambda delivery: delivery.attempt,
    "subscription": lambda delivery: delivery.subscription,
}
"""What is given besides variables; a variable of such a name is in `event.data`."""


VARIABLE = "%"
"""What a word of *parms* begins with that is a variable."""


class Arguments:
    """How the parameters of a function are filled in: from fixed values, from what is given, from variables."""

    def __init__(
        self, target: Target, fixed: Mapping[str, object], parms: Sequence[str] = (), *, joined: bool = False
    ) -> None:
        """Look at the function of *target*, which gets *fixed* each time, and its first parameters *parms*.

        Variables that are lists come as one text where *joined*.  Raises Unusable where it can't be filled in.
        """
        self._data = _joined if joined else _plain
        by_parms = _in_turn(target, parms)
        self._variables = {name: word[1:] for name, word in by_parms.items() if word.startswith(VARIABLE)}
        self._fixed = {**fixed, **{name: word for name, word in by_parms.items() if name not in self._variables}}
        required: list[str] = []
        optional: list[str] = []
        given: list[tuple[str, Callable[[Delivery], object]]] = []
        self._rest = False
        for each in _parameters(target):
            if each.kind is each.VAR_KEYWORD:
                self._rest = True
            elif each.kind is each.POSITIONAL_ONLY:
                raise Unusable(f"parameter {each.name} is positional only, and names are all there is: take out the /")
            elif each.kind is each.VAR_POSITIONAL or each.name in {*fixed, *by_parms}:
                continue
            elif each.name in GIVEN:
                given.append((each.name, GIVEN[each.name]))
            else:
                (required if each.default is each.empty else optional).append(each.name)
        self._required, self._optional, self._given = tuple(required), tuple(optional), tuple(given)
        self._named = frozenset((*required, *optional, *fixed, *by_parms, *(name for name, _ in given)))
        self._check_fixed(target, fixed, by_parms)

    def __call__(self, delivery: Delivery) -> dict[str, Any]:
        """Return the arguments for *delivery*; a variable that is absent is its parameter's default, or None."""
        data = self._data(delivery.event.data)
        arguments: dict[str, Any] = self._fixed.copy()
        for name, give in self._given:
            arguments[name] = give(delivery)
        for name, variable in self._variables.items():
            arguments[name] = data.get(variable)
        for name in self._required:
            arguments[name] = data.get(name)
        for name in self._optional:
            if name in data:
                arguments[name] = data[name]
        if self._rest:
            arguments |= {name: value for name, value in data.items() if name not in self._named}
        return arguments

    def remarks(self, kinds: Kinds) -> Iterator[Remark]:
        """Yield which parameters no event, or not every event, of *kinds* has."""
        for name in self._required:
            lacking = kinds.lacking(name)
            if wrong := kinds.unknown(name):
                near = did_you_mean(name, GIVEN)
                yield Remark(("function",), f"parameter {name}: {f'no variable {name}{near}' if near else wrong}")
            elif lacking and kinds.samples:
                message = f"parameter {name}: {named(lacking)} cannot have data.{name}, so it is None there"
                yield Remark(("function",), f"{message}; a default says that it is meant", warning=True)
        for name in self._optional:
            wrong = kinds.unknown(name)
            if "did you mean" in wrong:
                yield Remark(("function",), f"parameter {name}: {wrong} It always has its default", warning=True)
        for name in self._variables.values():
            if wrong := kinds.unknown(name):
                yield Remark(("parms",), f"%{name}: {wrong}")

    def _check_fixed(self, target: Target, fixed: Mapping[str, object], by_parms: Mapping[str, str]) -> None:
        known = [each.name for each in _parameters(target)]
        for name in fixed:
            if name in by_parms:
                raise Unusable(f"{name} is given by parms too: one of them is enough", ("with", name))
            if name in GIVEN:
                raise Unusable(f"{name} is given by clusterbus: call the parameter something else", ("with", name))
            if name not in known and not self._rest:
                raise Unusable(f"the function has no parameter {name}{did_you_mean(name, known)}", ("with", name))


def _plain(data: Mapping[str, Value]) -> Mapping[str, Value]:
    return data


def _joined(data: Mapping[str, Value]) -> Mapping[str, Value]:
    return {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in data.items()}


def _in_turn(target: Target, parms: Sequence[str]) -> dict[str, str]:
    """Return which parameter of *target* gets which of *parms*."""
    if not parms:
        return {}
    names = [each.name for each in _parameters(target) if each.kind is each.POSITIONAL_OR_KEYWORD]
    if len(parms) > len(names):
        takes = f"takes {len(names)} by position" if names else "takes none by position"
        message = f"has {len(parms)} words, and the function {takes}: give each a parameter of its own"
        raise Unusable(message, ("parms",))
    return dict(zip(names, parms, strict=False))


def _parameters(target: Target) -> list[inspect.Parameter]:
    function = target.function
    for each in (function, inspect.getattr_static(type(function), "__call__")):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise Unusable("is a generator, of which nothing would run: return instead of yield")
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise Unusable(f"does not tell its parameters ({error}): call it from a function of your own") from error
    # The object that a method belongs to is not ours to fill in.
    return found[1:] if target.owner else found
