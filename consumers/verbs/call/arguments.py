"""The arguments of a function, matched by parameter names once and then filled in for each delivery."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from router.errors import did_you_mean
from router.model.events import Value

from ...config.event_samples import Kinds, Remark, named
from ...deliveries import Delivery
from .references import Target, Unusable

GIVEN: Mapping[str, Callable[[Delivery], object]] = {
    "event": lambda delivery: delivery.event,
    "fold": lambda delivery: delivery.fold,
    "facts": lambda delivery: delivery.facts,
    "meta": lambda delivery: dict(delivery.meta),
    "attempt": lambda delivery: delivery.attempt,
    "subscription": lambda delivery: delivery.subscription,
}
"""Parameters that do not get a variable; read a variable with such a name from `event.data`."""


VARIABLE = "%"
"""Prefix of a word in *parms* that names a variable."""


class Arguments:
    """Fills in the parameters of a function from fixed values, parts of the delivery, and variables."""

    def __init__(
        self, target: Target, fixed: Mapping[str, object], parms: Sequence[str] = (), *, joined: bool = False
    ) -> None:
        """Prepare to call the function of *target* with *fixed* values, and with *parms* for its first parameters.

        With *joined*, a variable that is a list becomes one text.  Raises Unusable if a parameter cannot be filled in.
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
                raise Unusable(f"parameter {each.name} is positional only: remove the / from the signature")
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
        """Return the arguments for *delivery*; for an absent variable, the parameter's default or None."""
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

    @property
    def implied(self) -> tuple[str, ...]:
        """The variables that parameters get by their names."""
        return (*self._required, *self._optional)

    def remarks(self, kinds: Kinds) -> Iterator[Remark]:
        """Yield the parameters for which no event, or not every event, of *kinds* has a variable, or is given it."""
        for name in self._required:
            lacking = kinds.lacking(name)
            if wrong := kinds.unknown(name):
                near = did_you_mean(name, GIVEN)
                yield Remark(("function",), f"parameter {name}: {f'no variable {name}{near}' if near else wrong}")
            elif lacking and kinds.kinds:
                message = f"parameter {name}: {named(lacking)} cannot have data.{name}, so it gets None"
                yield Remark(("function",), f"{message}; add a default if this is intended", warning=True)
        for name in self._optional:
            wrong = kinds.unknown(name)
            if "did you mean" in wrong:
                yield Remark(("function",), f"parameter {name}: {wrong} The default is always used", warning=True)
        for name in self._variables.values():
            if wrong := kinds.unknown(name):
                yield Remark(("parms",), f"%{name}: {wrong}")
        words = dict.fromkeys(self._variables.values(), "parms")
        for name, field in (dict.fromkeys((*self._required, *self._optional), "function") | words).items():
            if unpassed := kinds.unpassed(name):
                effect = "has its default" if name in self._optional else "is None"
                message = f"{named(unpassed)}: no registration passes %{name}, so {name} {effect}"
                yield Remark((field,), f"{message}: {kinds.remedy(unpassed, name)}", warning=True)

    def _check_fixed(self, target: Target, fixed: Mapping[str, object], by_parms: Mapping[str, str]) -> None:
        known = [each.name for each in _parameters(target)]
        for name in fixed:
            if name in by_parms:
                raise Unusable(f"{name} is also set by parms: remove one of them", ("with", name))
            if name in GIVEN:
                raise Unusable(f"{name} is set by clusterbus: rename the parameter", ("with", name))
            if name not in known and not self._rest:
                raise Unusable(f"the function has no parameter {name}{did_you_mean(name, known)}", ("with", name))


def _plain(data: Mapping[str, Value]) -> Mapping[str, Value]:
    return data


def _joined(data: Mapping[str, Value]) -> Mapping[str, Value]:
    return {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in data.items()}


def _in_turn(target: Target, parms: Sequence[str]) -> dict[str, str]:
    """Return the word of *parms* for each parameter of *target*."""
    if not parms:
        return {}
    names = [each.name for each in _parameters(target) if each.kind is each.POSITIONAL_OR_KEYWORD]
    if len(parms) > len(names):
        takes = f"takes {len(names)} by position" if names else "takes none by position"
        message = f"has {len(parms)} words, and the function {takes}: add parameters, or remove words"
        raise Unusable(message, ("parms",))
    return dict(zip(names, parms, strict=False))


def _parameters(target: Target) -> list[inspect.Parameter]:
    function = target.function
    for each in (function, inspect.getattr_static(type(function), "__call__")):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise Unusable("is a generator, which would not run: use return instead of yield")
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise Unusable(f"has no readable signature ({error}): call it from your own function") from error
    # The first parameter of a method is its object.
    return found[1:] if target.owner else found
