"""Actions as they stand in files: a purpose, parameters, a class, what to run, and defaults for guards and limits.

version: 1
actions:
  - name: start-disk
    purpose: Start disks that are down.
    class: change
    parameters:
      fileSystem: {type: name, from: data.fsName}
      disks: {type: names, from: data.diskName}
    run:
      command: [mmchdisk, "{{ parameters.fileSystem }}", start, -d, "{{ parameters.disks | join(';') }}"]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from router.settings.field_types import matching
from router.settings.models import Settings

from ...config.field_types import Closed
from ...policies.guards import Guard
from ...policies.retry import RetryPolicy
from ...policies.throttling import Limit, OncePer
from ..run.verb import RunVerb
from .parameters import Parameter, ParameterName

Class = Literal["look", "change", "destroy"]
"""What an action does at worst: it only reads; it changes what can be changed back; it destroys."""

ActionName = Annotated[
    str,
    matching("[a-z0-9][a-z0-9-]{0,54}", "is not a name of 1 to 55 characters of a-z, 0-9 and -"),
]

DEFAULTS: Final = ("retry", "once_per", "limit", "guard")
"""The keys of an action that its subscriptions have by default."""

_OF_DESTROY: Final[Mapping[str, Mapping[str, Any]]] = {
    "guard": {"at_most": {"count": 1, "per": "action"}, "ask": {"within": "24h"}},
    "limit": {"most": 4, "per": "1h", "rest": "wait"},
}
"""What holds for actions of class destroy that set nothing else."""


def _one_line(value: object) -> object:
    if isinstance(value, str) and len(value.splitlines()) > 1:
        raise ValueError("has several lines: write one sentence")
    return value


class Action(Closed):
    """One action: its *purpose*, the *parameters* that its command reads, and what it does at worst.

    Subscriptions that name it have its *retry*, *once_per*, *limit* and *guard*, unless they set their own.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    name: ActionName
    """Its name; subscriptions and people use it."""
    purpose: Annotated[str, BeforeValidator(_one_line), Field(min_length=1, max_length=200)]
    """One sentence for people: what it is for."""
    class_: Annotated[Class, Field(alias="class")]
    """look, change or destroy; `consumers.destroy` must list those that destroy."""
    parameters: Annotated[dict[ParameterName, Parameter], Field(max_length=50)] = Field(default={})
    """The values that `run` may read, by name."""
    run: RunVerb
    """What to run, with the keys of the verb `run`; templates read `parameters.NAME`."""
    retry: RetryPolicy | None = None
    once_per: OncePer | None = None
    limit: Limit | None = None
    guard: Guard | None = None

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The keys of a subscription that it sets, as they would stand in a file."""
        own = self.model_dump(mode="json", include={*DEFAULTS}, exclude_unset=True)
        own = {name: each for name, each in own.items() if each is not None}
        if self.class_ != "destroy":
            return own
        return {**own, **{name: {**usual, **own.get(name, {})} for name, usual in _OF_DESTROY.items()}}


class ActionFile(Closed):
    """A file of actions."""

    version: Literal[1]
    """The version of the format."""
    actions: list[Action]
    """The actions of this file."""


def refusal(action: Action, settings: Settings) -> str:
    """Return why this site does not let *action* run; empty if it may.

    >>> wanted = {"name": "x", "purpose": "X.", "class": "destroy", "run": {"command": ["x"]}}
    >>> refusal(Action.model_validate(wanted), Settings())
    'the action x destroys, and the setting consumers.destroy does not list it'
    """
    if action.class_ != "destroy" or action.name in settings.consumers.destroy:
        return ""
    return f"the action {action.name} destroys, and the setting consumers.destroy does not list it"
