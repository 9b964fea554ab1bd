"""Runs an action: reads the values of its parameters from the delivery, and hands both to the verb `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...deliveries import Delivery, Report
from ...errors import Rejected
from ..interface import Handler, Surroundings
from .definitions import Action, refusal
from .parameter_values import ParameterValues
from .parameters import NODES


class ActionHandler(Handler):
    """Runs the action of one subscription; several threads may call it at once."""

    is_contained = True

    def __init__(self, action: Action, values: ParameterValues, surroundings: Surroundings) -> None:
        """Prepare the command of *action*.  Raises SubscriptionsError if this machine cannot run it."""
        self._action, self._values = action, values
        self._refusal = refusal(action, surroundings.settings)
        self._run = action.run.handler(surroundings)
        self.action, self.action_class, self.divides = action.name, action.class_, self._run.divides

    def __call__(self, delivery: Delivery) -> Report | None:
        """Run the action; return None if a stop interrupted it.  Raises Rejected if the site or a value refuses it."""
        return self._run(self.prepared(delivery))

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the action with the values of its parameters, and what would run."""
        ready = self.prepared(delivery)
        about = {"action": self._action.name, "class": self._action.class_, "parameters": ready.parameters}
        return about | dict(self._run.plan(ready))

    def nodes(self, delivery: Delivery) -> Sequence[str]:
        """Return the nodes that are left to act on, or that its parameters name, for a command that runs here.

        Raises Rejected if the site or a value refuses the action.
        """
        ready = self.prepared(delivery)
        return self._run.nodes(ready) or self._named(ready.parameters or {})

    def _named(self, values: Mapping[str, object]) -> tuple[str, ...]:
        """Return the nodes in *values*, which a command gets as words."""
        found: dict[str, None] = {}
        for name, parameter in self._action.parameters.items():
            value = values.get(name) if parameter.type in NODES else None
            found |= dict.fromkeys(value if isinstance(value, list) else [value] if isinstance(value, str) else ())
        return tuple(found)

    def targets(self, delivery: Delivery) -> Sequence[str]:
        """Return what the command depends on."""
        try:
            return self._run.targets(self.prepared(delivery))
        except Rejected:
            return ()

    def close(self) -> None:
        """Release all resources."""
        self._run.close()

    def prepared(self, delivery: Delivery) -> Delivery:
        """Return *delivery* with the values of the parameters.  Raises Rejected if the site or a value refuses it."""
        if self._refusal:
            raise Rejected(self._refusal)
        return replace(delivery, parameters=self._values.of(delivery))
