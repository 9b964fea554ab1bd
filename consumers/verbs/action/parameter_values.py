"""The values of an action's parameters for one delivery: given by the subscription, read from the event, or defaults.

Pure.  What cannot be a value of its parameter is refused: the action does not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from router.cluster.facts.views import Known

from ...deliveries import Delivery
from ...errors import Rejected, TemplateError
from ...expressions.templates import Template
from ...policies.group_keys import value_at
from .definitions import Action
from .parameters import LISTS, NODES, Parameter, ParameterName, Value

Given = Annotated[dict[ParameterName, JsonValue], Field(max_length=50)]
"""What a subscription gives: values by the names of parameters; texts are templates."""


class ParameterValues:
    """The values that a subscription gives to an action; any thread may read them."""

    def __init__(self, action: Action, given: Mapping[str, object], fixed: Mapping[str, object] | None = None) -> None:
        """Give the values *given*, whose texts are templates, and those in *fixed*, which are values as they are."""
        self._action, self._fixed = action, fixed or {}
        self._given = {name: _prepared(each) for name, each in given.items()}

    def of(self, delivery: Delivery) -> dict[str, Value]:
        """Return the value of each parameter for *delivery*; an optional one that has none is left out.

        Raises Rejected, which names the parameter, if a value is missing or cannot be used.
        """
        found: dict[str, Value] = {}
        for name, parameter in self._action.parameters.items():
            value, source = self._raw(name, parameter, delivery)
            if value is None and parameter.optional:
                continue
            if value is None:
                raise Rejected(f"parameter {name} of the action {self._action.name}: {source} has no value")
            try:
                found[name] = parameter.read(value)
                if parameter.type in NODES:
                    _check_hosts(found[name], delivery.known)
            except ValueError as error:
                raise Rejected(f"parameter {name} of the action {self._action.name}: {error}") from error
        return found

    def refused(self, delivery: Delivery) -> Iterator[tuple[str, str]]:
        """Yield each parameter whose value for *delivery* cannot be used, and why; what has no value is left out."""
        for name, parameter in self._action.parameters.items():
            try:
                value, _ = self._raw(name, parameter, delivery)
                if value is not None:
                    parameter.read(value)
            except TemplateError:
                continue
            except ValueError as error:
                yield name, str(error)

    def _raw(self, name: str, parameter: Parameter, delivery: Delivery) -> tuple[object, str]:
        """Return the value of a parameter before it is checked, None if there is none, and where it comes from."""
        if name in self._fixed:
            return self._fixed[name], "the command line"
        value, source = None, "nothing gives it, and it"
        if name in self._given:
            value, source = _rendered(self._given[name], delivery), f"with.{name}"
        elif parameter.from_ is not None:
            value, source = value_at(delivery.event, parameter.from_), parameter.from_
        is_nothing = value is None or value in ("", [])
        return (parameter.default, source) if is_nothing else (value, source)


def implied(action: Action, given: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the parameters that the event gives because nobody else does, each with a template that reads it.

    >>> action = Action.model_validate({"name": "x", "purpose": "X.", "class": "look", "run": {"command": ["x"]},
    ...     "parameters": {"disks": {"type": "names", "from": "data.diskName"}}})
    >>> [*implied(action, {})]
    [('disks', "{{ data.diskName | join(',') }}")]
    """
    for name, parameter in action.parameters.items():
        if parameter.from_ is not None and name not in given:
            joined = " | join(',')" if parameter.type in LISTS else ""
            read = f"{{{{ {parameter.from_}{joined} }}}}"
            may_lack = parameter.optional or parameter.default is not None
            yield name, f"{{% if {parameter.from_} %}}{read}{{% endif %}}" if may_lack else read


def _check_hosts(value: Value, known: Known | None) -> None:
    """Raise ValueError if *value*, one host or several, has the name of a class of nodes, which GPFS would act on."""
    values = known.values if known else None
    classes = (values or {}).get("node_classes") or {}
    names = (values or {}).get("names") or {}
    for each in value if isinstance(value, list) else [value]:
        if each in classes and each not in names:
            raise ValueError(f"{each!r} is a node class of this cluster, not a host name: name the hosts")


def _prepared(value: object) -> object:
    if isinstance(value, str):
        return Template(value)
    return [_prepared(each) for each in value] if isinstance(value, (list, tuple)) else value


def _rendered(value: object, delivery: Delivery) -> object:
    if isinstance(value, Template):
        return value.render_text(delivery)
    return [_rendered(each, delivery) for each in value] if isinstance(value, list) else value
