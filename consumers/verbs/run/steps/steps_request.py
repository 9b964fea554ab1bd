"""What a job of steps is to do, as its process reads it: all is rendered except what reads earlier steps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from ....processes.child_process import User
from ..transports.fanout_request import Transport
from .sequence import Order


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Late(_Kept):
    """A template that reads the values of earlier steps, so that it is rendered when its step begins."""

    template: str


class CopyRequest(_Kept):
    """A file to copy: from *source* here to *target* on the nodes."""

    source: str
    target: str
    mode: str
    owner: str = ""


class StepRequest(_Kept):
    """One step: *words* to run on *nodes*, or here if there are none; *before* are nodes that have done it already."""

    name: str
    words: tuple[str | Late, ...] = ()
    copied: CopyRequest | None = None
    nodes: tuple[str, ...] | Late | None = None
    before: tuple[str, ...] = ()
    environment: Mapping[str, str | Late] = {}
    timeout: timedelta
    connect_timeout: timedelta
    deadline: timedelta | None = None
    fanout: int
    output: int
    login: str | None = None
    user: User | None = None


class StepsRequest(_Kept):
    """All steps of a job.  *variables* is the environment of a command here, *identity* that of one on nodes.

    *values* has what templates read in addition to earlier steps; *deadline* is the limit for all *steps* together.
    *done* and *cleans_first* are those of `Order`.
    """

    steps: tuple[StepRequest, ...]
    always: tuple[StepRequest, ...] = ()
    done: Mapping[str, Mapping[str, Any]] = {}
    cleans_first: bool = False
    deadline: timedelta | None = None
    variables: Mapping[str, str]
    identity: Mapping[str, str]
    values: Mapping[str, Any] = {}
    transport: Transport

    @property
    def order(self) -> Order:
        """The order of the steps."""
        steps, always = ([each.name for each in part] for part in (self.steps, self.always))
        return Order(steps, always, self.done, self.cleans_first)

    def step(self, part: str, name: str) -> StepRequest:
        """Return the step *name* of *part*."""
        return next(each for each in (self.steps if part == "steps" else self.always) if each.name == name)
