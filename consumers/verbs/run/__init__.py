"""The verb `run`: a command, as a list of words filled in from the event; its exit code is the outcome."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from router import durations
from router.sections import Settings

from ...fields import ON_THIS_MACHINE, Command, Environment
from ...retries import Duration, no_longer_than
from .. import Handler, Kinds, Remark, Surroundings, Verb

_LOGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_FOR_NODES = ("fanout", "connect_timeout", "deadline")


Limit = Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=7)))]


class RunVerb(Verb):
    """Run a command on this machine, with the event on its standard input, or on *nodes*; its exit code is the outcome.

    On nodes, *fanout* of them at once, each has *timeout*, and all together *deadline*; a retry runs on those that
    failed.  *detach* has it run as a job, which outlives the consumer.
    """

    reports: ClassVar[tuple[str, str]] = ("runFinished", "runFailed")
    templates = ("command", "environment", "nodes")

    command: Command
    nodes: str | None = None
    fanout: int = Field(default=64, ge=1, le=256)
    timeout: Limit = timedelta(minutes=10)
    connect_timeout: Limit = timedelta(seconds=10)
    deadline: Limit | None = None
    detach: bool = False
    environment: Environment = Field(default={})
    user: str | None = None
    output: int = Field(default=65536, ge=1024, le=16_777_216)

    @field_validator("user")
    @classmethod
    def _known(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _LOGIN.fullmatch(value):
            raise ValueError(f"{value!r} is no user")
        # On nodes it is their user: this machine need not have it.
        if value is not None and info.context == ON_THIS_MACHINE and info.data.get("nodes") is None:
            _exists(value)
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.nodes is None:
            for name in _FOR_NODES:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is for commands on nodes, and there are no nodes")
        elif "=" in self.command[0]:
            raise ValueError(f"the program {self.command[0]!r} has a =, and would be a variable on nodes")
        if self.deadline is not None and self.deadline < self.timeout:
            deadline, timeout = durations.text(self.deadline), durations.text(self.timeout)
            raise ValueError(f"deadline ({deadline}) is shorter than timeout ({timeout}), which each node has")
        return self

    @property
    def is_literal(self) -> bool:
        """Whether the node set stands in the file as it is: then it may name groups of the site."""
        return self.nodes is not None and "{{" not in self.nodes and "{%" not in self.nodes

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield that the program is not there, that the node set is none, or that it would answer itself."""
        if own := [each for each in kinds.samples if each.partition(".")[2] in self.reports]:
            message = f"is on {' and '.join(sorted(own))} too, its own outcomes: write gpfs.# for what a cluster says"
            yield Remark((), message, warning=True)
        transport = settings.consumers.transport
        is_here = (self.nodes is None or transport == "local") and self.command[0].startswith("/")
        if is_here and not os.access(self.command[0], os.X_OK):
            message = f"no program {self.command[0]} can be run on this machine"
            yield Remark(("command",), message, warning=True)
        if self.nodes is not None:
            yield from self._about_nodes(settings)

    def _about_nodes(self, settings: Settings) -> Iterator[Remark]:
        # ClusterShell is only for those that use it.
        from ...errors import Rejected  # noqa: PLC0415
        from .nodes import GroupsUnknown, names_of  # noqa: PLC0415

        assert self.nodes is not None  # noqa: S101 - for the reader: asked by who calls
        if self.is_literal:
            try:
                names_of(self.nodes, is_ours=True)
            except Rejected as error:
                yield Remark(("nodes",), str(error).removeprefix("nodes: "))
            except GroupsUnknown as error:
                yield Remark(("nodes",), str(error).removeprefix("nodes: "), warning=True)
        elif not {"@", "!", "&", "^"}.isdisjoint(re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", self.nodes, flags=re.DOTALL)):
            message = "groups and operators (@ ! & ^) have no place beside a value of the event: write the names"
            yield Remark(("nodes",), message)
        if settings.consumers.transport == "ssh" and shutil.which(settings.consumers.ssh) is None:
            message = f"no program {settings.consumers.ssh} on this machine: nodes cannot be reached"
            yield Remark(("nodes",), message, warning=True)
        if self.user is not None and settings.consumers.transport == "local":
            try:
                _exists(self.user)
            except ValueError as error:
                yield Remark(("user",), str(error))

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what runs it.  Raises SubscriptionsError where `user` cannot be become."""
        # What is only checked needs no processes, and what runs here no ClusterShell.
        if self.nodes is None:
            from .command import CommandHandler  # noqa: PLC0415

            return CommandHandler(self, surroundings)
        from .fleet import FleetHandler  # noqa: PLC0415

        return FleetHandler(self, surroundings)


def _exists(user: str) -> None:
    try:
        pwd.getpwnam(user)
    except (KeyError, ValueError) as error:
        raise ValueError(f"there is no user {user!r} on this machine") from error
