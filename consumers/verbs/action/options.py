"""The options of the verb `action`: the name of an action, and values for its parameters."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from pydantic import ConfigDict, Field

from ..interface import Verb
from .definitions import ActionName
from .parameter_values import Given


class ActionOptions(Verb):
    """Run an action of the catalogue; `clusterbus actions list` shows them.  Short form: `action: start-disk`."""

    model_config = ConfigDict(serialize_by_alias=True)

    short_form: ClassVar[str] = "name"
    reports: ClassVar[tuple[str, str]] = ("runFinished", "runFailed")
    is_audited: ClassVar[bool] = True
    templates: ClassVar[tuple[str, ...]] = ("with",)

    name: ActionName
    """The name of the action."""
    with_: Given = Field(default={}, alias="with")
    """Values of its parameters, by name; texts are templates."""

    @property
    def failures(self) -> Collection[str] | None:
        """What `run` may report: which of these is known once the action is."""
        return None
