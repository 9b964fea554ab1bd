"""The verb `action`: its options, and what a subscription is served by once its action is known."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, JsonValue

from router.settings.models import Settings

from ...config.event_samples import Kinds, Remark, named
from ...deliveries import Delivery
from ...policies.group_keys import variables
from ..interface import Handler, Surroundings, TemplateText, Verb
from ..run.verb import RunVerb
from .definitions import Action, refusal
from .options import ActionOptions
from .parameter_values import ParameterValues
from .parameters import NODES


class ActionVerb(ActionOptions):
    """Run an action of the catalogue; `clusterbus actions list` shows them.  Short form: `action: start-disk`."""

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Verb:
        """Return the verb with its action, as it stands in JSON."""
        return BoundAction.model_validate(values)

    def handler(self, surroundings: Surroundings) -> Handler:
        """Raise SubscriptionsError: the action is not known."""
        raise surroundings.mistake("action.name", f"the action {self.name} is not known")


class BoundAction(ActionVerb):
    """An action with the values that a subscription gives it, or an operator: *fixed* holds no templates."""

    definition: Action
    fixed: dict[str, JsonValue] = Field(default={})

    @classmethod
    def template_texts(cls, options: Mapping[str, object]) -> Iterator[TemplateText]:
        """Yield the templates of *options*, and of what its action runs."""
        yield from super().template_texts(options)
        definition = options.get("definition")
        run = definition.get("run") if isinstance(definition, Mapping) else None
        for each in RunVerb.template_texts(run) if isinstance(run, Mapping) else ():
            yield each._replace(place=("definition", "run", *each.place))

    @property
    def values(self) -> ParameterValues:
        """What it gives to the action."""
        return ParameterValues(self.definition, self.with_, self.fixed)

    @property
    def failures(self) -> Collection[str] | None:
        """What its command may report."""
        return self.definition.run.failures

    @property
    def reads_facts(self) -> bool:
        """Whether parameters name nodes: facts tell hosts from node classes."""
        return any(each.type in NODES for each in self.definition.parameters.values())

    def implied_variables(self, settings: Settings) -> Sequence[str]:  # noqa: ARG002 - the protocol
        """Return the variables that parameters read which nobody gives."""
        places = (each.from_ or "" for name, each in self.definition.parameters.items() if name not in self.with_)
        return variables(tuple(places))

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield what this site refuses, and the values of events that a parameter cannot have."""
        if reason := refusal(self.definition, settings):
            yield Remark(("name",), f"{reason}: each delivery is refused", fault=True)
        yield from (replace(each, place=()) for each in self.definition.run.remarks(kinds, settings) if not each.place)
        values, found = self.values, dict[tuple[str, str], list[str]]()
        for name, kind in kinds.kinds.items():
            event = kind.sample
            for parameter, reason in values.refused(Delivery(event, "sample", event.topic, b"")):
                found.setdefault((parameter, reason), []).append(name)
        for (parameter, reason), types in found.items():
            message = f"for {named(types)}: {reason}"
            yield Remark(("with", parameter), message, warning=len(types) < len(kinds.kinds))

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield what of this machine the command lacks, such as its program."""
        yield from (replace(each, place=("name",)) for each in self.definition.run.remarks_here(kinds, settings))

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler.  Raises SubscriptionsError if this machine cannot run the command."""
        from .action_handler import ActionHandler  # noqa: PLC0415 - a check needs no processes

        return ActionHandler(self.definition, self.values, surroundings)
