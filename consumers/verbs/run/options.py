"""The options of the verb `run`: a command whose words are rendered from the event; its exit code decides."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from router.model import durations
from router.model.events import OWN
from router.settings.field_types import whole
from router.settings.models import Settings
from router.settings.yaml_documents import Place

from ...config.event_samples import Kinds, Remark
from ...config.field_types import ON_THIS_MACHINE, Environment, OptionalCommand, check_program, check_user
from ...processes.job_files import Jobs
from ..interface import TemplateText, Verb
from .command_checks import Planned, is_literal
from .step_options import LOGIN, MOST, Limit, Nodes, OnRetry, Step

_FOR_NODES = ("fanout", "connect_timeout", "deadline")

Steps = Annotated[tuple[Step, ...], Field(strict=False, max_length=MOST)]


def _conditions(schema: dict[str, Any]) -> None:
    """Add to the JSON *schema* that there is a command or steps, which options need `nodes`, and which need steps."""
    on_nodes = {"properties": {"nodes": {"type": "string"}}, "required": ["nodes"]}
    defaults = {name: {"const": schema["properties"][name]["default"]} for name in _FOR_NODES}
    plain = {"command": {"prefixItems": [{"pattern": "^[^=]*$"}]}}
    schema["required"].remove("command")
    some, none = {"minItems": 1}, {"maxItems": 0}
    one = {
        "command": some,
        "steps": none,
        "always": none,
        "on_retry": {"const": schema["properties"]["on_retry"]["default"]},
    }
    several = {"steps": some, "command": none, "nodes": {"type": "null"}}
    schema |= {"oneOf": [{"required": ["command"], "properties": one}, {"required": ["steps"], "properties": several}]}
    no_steps = {"properties": {"steps": none}}
    schema |= {
        "if": on_nodes,
        "then": {"properties": plain},
        "else": {"if": no_steps, "then": {"properties": defaults}},
    }


class RunOptions(Verb):
    """Run a command on this machine, with the event on its standard input, or on *nodes*; its exit code decides.

    *fanout* nodes run in parallel; each has *timeout*, all together have *deadline*.  A retry runs only on nodes that
    failed.  *detach* runs the command as a job, which survives a stop of the consumer.
    """

    model_config = ConfigDict(json_schema_extra=_conditions)

    reports: ClassVar[tuple[str, str]] = ("runFinished", "runFailed")
    templates = ("command", "environment", "nodes")

    steps: Steps = ()
    """Commands that run one after another, until one fails, instead of *command*."""
    command: OptionalCommand
    """The program and its arguments; arguments are templates."""
    always: Steps = ()
    """Steps that run at the end, whatever came before."""
    on_retry: OnRetry = "restart"
    """Whether a retry begins with the first step, or with the first that was not done."""
    nodes: Nodes | None = None
    fanout: int = Field(default=64, ge=1, le=256)
    timeout: Limit = timedelta(minutes=10)
    connect_timeout: Limit = timedelta(seconds=10)
    """The limit for the connection to one node."""
    deadline: Limit | None = None
    detach: bool = False
    environment: Environment = Field(default={})
    """Additional variables; their values are templates."""
    user: Annotated[str, Field(json_schema_extra=whole(LOGIN))] | None = None
    """The user that runs the command."""
    output: int = Field(default=65536, ge=1024, le=16_777_216)
    """How many octets of its output to keep."""

    @model_validator(mode="before")
    @classmethod
    def _steps_alone(cls, values: object) -> object:
        is_alone = isinstance(values, Mapping) and values.get("steps") and "command" not in values
        return {**values, "command": ()} if isinstance(values, Mapping) and is_alone else values

    @field_validator("command")
    @classmethod
    def _one_thing(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        steps = info.data.get("steps")
        if not value and steps == ():
            return check_program(value)
        if value and steps:
            raise ValueError("cannot be used with steps: make it one of them")
        return value

    @field_validator("user")
    @classmethod
    def _known(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not re.fullmatch(LOGIN, value):
            raise ValueError(f"{value!r} is not a valid user name")
        # For nodes it is a user of the nodes, which this machine may not have.
        is_for_nodes = info.data.get("nodes") is not None or info.data.get("steps")
        if value is not None and info.context == ON_THIS_MACHINE and not is_for_nodes:
            check_user(value)
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.steps:
            self._check_steps()
            return self
        for name in ("always", "on_retry"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} applies only to steps: write steps instead of command, or remove {name}")
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

    def _check_steps(self) -> None:
        if self.nodes is not None:
            raise ValueError("nodes belongs to each step that runs on nodes: move it there")
        names = [each.name for each in (*self.steps, *self.always)]
        if twice := [each for at, each in enumerate(names) if each in names[:at]]:
            raise ValueError(f"two steps have the name {twice[0]}")

    @property
    def is_literal(self) -> bool:
        """Whether the node set has no templates, so that it may use groups."""
        return is_literal(self.nodes)

    @classmethod
    def template_texts(cls, options: Mapping[str, object]) -> Iterator[TemplateText]:
        """Yield the templates of *options* and of its steps; a step may read those before it."""
        yield from super().template_texts(options)
        before: tuple[str, ...] = ()
        for part in ("steps", "always"):
            below = options.get(part)
            for at, step in enumerate(below if isinstance(below, list | tuple) else ()):
                if isinstance(step, Mapping):
                    for each in super().template_texts(step):
                        yield each._replace(place=(part, at, *each.place), steps=before)
                    before = (*before, str(step.get("name")))

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
        on_nodes = ("exit", "timeout", "unreachable", "login", "nodes", "lost")
        if self.steps:
            return ("signal", *on_nodes)
        if self.nodes is not None:
            return on_nodes
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
        for place, planned in self._planned():
            yield from (replace(each, place=(*place, *each.place)) for each in planned.remarks())

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield what is missing here: programs, users, groups of nodes, the way to the nodes or for jobs."""
        is_job = self.detach or bool(self.steps)
        if problem := Jobs(settings.consumers.jobs).problem():
            text = problem if is_job else f"commands cannot be watched and cancelled: {problem}"
            yield Remark(("detach",) if self.detach else (), text, fault=is_job, warning=not is_job)
        for place, planned in self._planned():
            yield from (replace(each, place=(*place, *each.place)) for each in planned.remarks_here(settings.consumers))

    def _planned(self) -> Iterator[tuple[Place, Planned]]:
        """Yield each command, with its place."""
        if not self.steps:
            yield (), Planned(self.command, self.nodes, self.user, self.environment)
        for part, steps in (("steps", self.steps), ("always", self.always)):
            for at, each in enumerate(steps):
                source = each.copied.source if each.copied else None
                environment = {**self.environment, **each.environment}
                yield (part, at), Planned(each.command, each.nodes, each.user or self.user, environment, source)
