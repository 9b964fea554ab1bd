"""What a person asks for: an action with values, as the event and the subscription that stand for it.  Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from router.errors import did_you_mean
from router.model.catalogue import Catalogues
from router.model.events import OWN, Event
from router.model.events import Value as EventValue
from router.model.ids import new_id
from router.pipeline.mapping import own_event

from ..deliveries import Delivery
from ..errors import ManualRunError
from ..subscriptions.models import Entry, Subscription
from ..verbs.action.definitions import Action
from ..verbs.action.parameters import Value
from ..verbs.action.verb import BoundAction

EVENT = "actionRequested"
"""The event of source `clusterbus` that stands for a run by hand."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an action is run by hand: the cluster that it is about, and this machine."""

    cluster: str
    node: str


def values_of(action: Action, words: Sequence[str]) -> dict[str, Value]:
    """Return the values of *action* that a command line gives as NAME=VALUE; raises ManualRunError for any other.

    Nothing is read from an event, so each parameter needs a value, a default, or to be optional.
    """
    given: dict[str, str] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise ManualRunError(f"--with {word!r} must have the form NAME=VALUE")
        if name not in action.parameters:
            near = did_you_mean(name, action.parameters) or f"; it has {', '.join(action.parameters) or 'none'}"
            raise ManualRunError(f"the action {action.name} has no parameter {name}{near}")
        if name in given:
            raise ManualRunError(f"--with {name} is given twice")
        given[name] = text
    found: dict[str, Value] = {}
    for name, parameter in action.parameters.items():
        value = given.get(name, parameter.default)
        if value is None and parameter.optional:
            continue
        if value is None:
            what = f", {parameter.purpose}" if parameter.purpose else ""
            raise ManualRunError(f"the action {action.name} needs --with {name}=... ({parameter.type}{what})")
        try:
            found[name] = parameter.read(value)
        except ValueError as error:
            raise ManualRunError(f"--with {name}: {error}") from error
    return found


def subscription_for(action: Action, values: Mapping[str, Value]) -> Subscription:
    """Return the subscription that stands for *action* with *values*: it has its guards, and makes one attempt.

    >>> action = Action.model_validate({"name": "x", "purpose": "X.", "class": "look", "run": {"command": ["x"]}})
    >>> subscription_for(action, {}).name
    'action-x'
    """
    defaults: dict[str, Any] = dict(action.defaults)
    defaults["retry"] = {**defaults.get("retry", {}), "attempts": 1}
    entry = Entry.model_validate({"name": f"action-{action.name}", "on": EVENT, **defaults})
    fields = {name: getattr(entry, name) for name in Entry.model_fields}
    verb = BoundAction.model_validate({"name": action.name, "definition": action, "fixed": dict(values)})
    return Subscription(**fields, patterns=(f"{OWN}.*.action.{EVENT}.#",), kind="action", verb=verb)


def delivery_for(
    action: Action, values: Mapping[str, Value], by: str, place: Place, catalogues: Catalogues, moment: datetime
) -> Delivery:
    """Return the delivery of the event that says that the person *by* runs *action* with *values*.

    The event has the variables that the parameters read, so that guards by `data.fsName` count as for other events.
    """
    data: dict[str, EventValue] = {}
    for name, value in values.items():
        source = action.parameters[name].from_ or ""
        if source.startswith("data."):
            data[source.removeprefix("data.")] = value
    told = json.dumps(values, ensure_ascii=False)
    data |= {"action": action.name, "parameters": told, "by": by}
    event: Event = own_event(
        EVENT, data, catalogues, cluster=place.cluster, node=place.node, id_=new_id(moment), moment=moment
    )
    return Delivery(event, f"action-{action.name}", event.topic, event.to_json())
