"""The options of the verb `run`: a command whose words are rendered from the event; its exit code decides."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from router.model import durations
from router.model.events import OWN
from router.settings.field_types import whole
from router.settings.models import Settings

from ...config.event_samples import Kinds, Remark
from ...config.field_types import ON_THIS_MACHINE, Command, Duration, Environment, check_user, no_longer_than
from ...processes import executables, shell_words
from ...processes.child_process import search_path
from ...processes.job_files import Jobs
from ...processes.service_unit import runs_as
from ..interface import Verb

_LOGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_FOR_NODES = ("fanout", "connect_timeout", "deadline")


def _conditions(schema: dict[str, Any]) -> None:
    """Add to the JSON *schema* which options need `nodes`, and what nodes would read as a variable."""
    on_nodes = {"properties": {"nodes": {"type": "string"}}, "required": ["nodes"]}
    defaults = {name: {"const": schema["properties"][name]["default"]} for name in _FOR_NODES}
    plain = {"command": {"prefixItems": [{"pattern": "^[^=]*$"}]}}
    schema |= {"if": on_nodes, "then": {"properties": plain}, "else": {"properties": defaults}}


Limit = Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=7)))]


class RunOptions(Verb):
    """Run a command on this machine, with the event on its standard input, or on *nodes*; its exit code decides.

    *fanout* nodes run in parallel; each has *timeout*, all together have *deadline*.  A retry runs only on nodes that
    failed.  *detach* runs the command as a job, which survives a stop of the consumer.
    """

    model_config = ConfigDict(json_schema_extra=_conditions)

    reports: ClassVar[tuple[str, str]] = ("runFinished", "runFailed")
    templates = ("command", "environment", "nodes")

    command: Command
    """The program and its arguments; arguments are templates."""
    nodes: Annotated[str, Field(json_schema_extra={"pattern": "[^ ,]"})] | None = None
    fanout: int = Field(default=64, ge=1, le=256)
    timeout: Limit = timedelta(minutes=10)
    connect_timeout: Limit = timedelta(seconds=10)
    """The limit for the connection to one node."""
    deadline: Limit | None = None
    detach: bool = False
    environment: Environment = Field(default={})
    """Additional variables; their values are templates."""
    user: Annotated[str, Field(json_schema_extra=whole(_LOGIN.pattern))] | None = None
    """The user that runs the command."""
    output: int = Field(default=65536, ge=1024, le=16_777_216)
    """How many octets of its output to keep."""

    @field_validator("user")
    @classmethod
    def _known(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _LOGIN.fullmatch(value):
            raise ValueError(f"{value!r} is not a valid user name")
        # For nodes it is a user of the nodes, which this machine may not have.
        if value is not None and info.context == ON_THIS_MACHINE and info.data.get("nodes") is None:
            check_user(value)
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.nodes is None:
            for name in _FOR_NODES:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} applies only to commands on nodes: set nodes, or remove {name}")
        elif "=" in self.command[0]:
            raise ValueError(f"the program {self.command[0]!r} contains =, so that nodes would read it as a variable")
        if self.deadline is not None and self.deadline < self.timeout:
            deadline, timeout = durations.text(self.deadline), durations.text(self.timeout)
            raise ValueError(f"deadline ({deadline}) is shorter than timeout ({timeout}), which each node has")
        return self

    @property
    def is_literal(self) -> bool:
        """Whether the node set has no templates, so that it may use groups."""
        return self.nodes is not None and "{{" not in self.nodes and "{%" not in self.nodes

    @classmethod
    def misread(cls, name: str, text: str) -> str:
        """Return why *text* is no node set, if *name* is the field of one."""
        # Import ClusterShell only if it is used.
        from ...errors import Rejected  # noqa: PLC0415
        from .node_targets import names_of  # noqa: PLC0415

        try:
            if name == "nodes":
                names_of(text)
        except Rejected as error:
            return str(error).removeprefix("nodes: ")
        return ""

    @property
    def failures(self) -> Collection[str]:
        """What its reports may say: a fan-out reports no signals, and only it and jobs can be lost."""
        if self.nodes is not None:
            return ("exit", "timeout", "unreachable", "nodes", "lost")
        return ("exit", "signal", "timeout", *(("lost",) if self.detach else ()))

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield mistakes: an invalid node set, or words that only a shell replaces; a warning about its own events."""
        if own := [each for each in kinds.kinds if each.partition(".")[2] in self.reports]:
            events = " and ".join(sorted(own))
            message = f"also selects {events}, and never receives those of its own commands"
            # What selects other events of ours too is a pattern.
            if sum(each.startswith(f"{OWN}.") for each in kinds.kinds) > len(own):
                message += ": write gpfs.# to leave them out"
            yield Remark((), message, warning=True)
        for at, message in shell_words.problems(self.command):
            yield Remark(("command", at), message, warning=True)
        if self.is_literal and not self._has_groups:
            yield from self._about_node_set()
        elif self._has_groups and not self.is_literal:
            message = "groups and operators (@ ! & ^ *) are not allowed together with a template: write the node names"
            yield Remark(("nodes",), message)

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield what is missing here: the program, the user, groups of nodes, the way to the nodes or for jobs."""
        transport = settings.consumers.transport
        if self.nodes is None or transport == "local":
            problem = executables.problem(self.command[0], runs_as(self.user), search_path(self.environment))
            if problem:
                yield Remark(("command",), problem, warning=True)
        if self.detach and (problem := Jobs(settings.consumers.jobs).problem()):
            yield Remark(("detach",), problem, fault=True)
        if self.is_literal and self._has_groups:
            yield from self._about_node_set()
        ssh = settings.consumers.ssh
        if self.nodes is not None and transport == "ssh" and (problem := executables.problem(ssh, runs_as())):
            yield Remark(("nodes",), f"nodes are unreachable: {problem}", warning=True)
        if self.nodes is not None and self.user is not None and transport == "local":
            try:
                check_user(self.user)
            except ValueError as error:
                yield Remark(("user",), str(error))

    @property
    def _has_groups(self) -> bool:
        """Whether the node set has groups or operators outside of templates, so that groups.conf says what it means."""
        return not {*"@!&^*"}.isdisjoint(_TEMPLATE.sub("", self.nodes or ""))

    def _about_node_set(self) -> Iterator[Remark]:
        # Import ClusterShell only if it is used.
        from ...errors import Rejected  # noqa: PLC0415
        from .node_targets import GroupsUnknown, names_of  # noqa: PLC0415

        try:
            names_of(self.nodes or "", is_ours=True)
        except Rejected as error:
            yield Remark(("nodes",), str(error).removeprefix("nodes: "))
        except GroupsUnknown as error:
            yield Remark(("nodes",), str(error).removeprefix("nodes: "), warning=True)
