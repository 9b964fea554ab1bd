"""The options of one step: a command, here or on nodes, or a file that is copied to nodes."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from router.settings.field_types import matching

from ...config.field_types import (
    AbsolutePath,
    Closed,
    Duration,
    Environment,
    OptionalCommand,
    no_longer_than,
)

LOGIN = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
STEP_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
MOST = 50

_TARGET = r"/(?:[A-Za-z0-9._@+:,=-]+/)*[A-Za-z0-9._@+:,=-]*[A-Za-z0-9_@+:,=-]"
_NO_TARGET = "is not the absolute path of a file: use A-Z a-z 0-9 . _ @ + : , = -"
_MODE = "0?[0-7]{3}"
_OWNER = rf"{LOGIN}(?::{LOGIN})?"

Limit = Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=7)))]
Nodes = Annotated[str, Field(json_schema_extra={"pattern": "[^ ,]"})]
OnRetry = Literal["restart", "resume"]


def _conditions(schema: dict[str, Any]) -> None:
    """Add to the JSON *schema* that a step has a command or a file, and which options need nodes."""
    on_nodes = {"properties": {"nodes": {"type": "string"}}, "required": ["nodes"]}
    plain = {"command": {"prefixItems": [{"pattern": "^[^=]*$"}]}}
    absent = {name: {"type": "null"} for name in ("fanout", "connect_timeout", "deadline", "copy")}
    command = {"required": ["command"], "properties": {"command": {"minItems": 1}, "copy": {"type": "null"}}}
    copy = {"required": ["copy"], "properties": {"copy": {"type": "object"}, "command": {"maxItems": 0}}}
    no_environment = {"environment": {"maxProperties": 0}}
    schema |= {
        "oneOf": [command, copy],
        "if": on_nodes,
        "then": {"properties": plain},
        "else": {"properties": absent},
        "allOf": [{"if": copy, "then": {"properties": no_environment}}],
    }


class Copied(Closed):
    """A file of this machine that is copied to nodes: written aside, checked, then renamed."""

    model_config = ConfigDict(serialize_by_alias=True)

    source: AbsolutePath = Field(alias="from")
    """The file on this machine."""
    target: Annotated[str, matching(_TARGET, "is not the absolute path of a file: use A-Z a-z 0-9 . _ @ + : , = -")] = (
        Field(alias="to")
    )
    """Where it is on the nodes."""
    mode: Annotated[str, matching(_MODE, 'is not a mode: write it in quotes, such as "0644"')] = "0644"
    """Its mode, in octal."""
    owner: Annotated[str, matching(_OWNER, "is not an owner: write user or user:group")] | None = None
    """The user, or user and group; by default who logs in."""


class Step(Closed):
    """One step: *command*, here or on *nodes*, or *copy*; what it does not set has the value of the whole `run`."""

    model_config = ConfigDict(serialize_by_alias=True, json_schema_extra=_conditions)

    name: Annotated[
        str, matching(STEP_NAME, "is not a name: use 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit")
    ]
    """How templates and outcomes name it."""
    command: OptionalCommand = ()
    """The program and its arguments; arguments are templates."""
    copied: Copied | None = Field(default=None, alias="copy")
    """A file to copy to the nodes."""
    nodes: Nodes | None = None
    """The nodes that run it, as a node set; without it, this machine."""
    fanout: Annotated[int, Field(ge=1, le=256)] | None = None
    """How many nodes run it at once."""
    timeout: Limit | None = None
    """The limit for the command, on each node separately."""
    connect_timeout: Limit | None = None
    """The limit for the connection to one node."""
    deadline: Limit | None = None
    """The limit for all nodes of this step."""
    environment: Environment = Field(default={})
    """Additional variables; their values are templates."""
    user: Annotated[str, matching(LOGIN, "is not a valid user name")] | None = None
    """The user that runs the command."""
    output: Annotated[int, Field(ge=1024, le=16_777_216)] | None = None
    """How many octets of its output to keep."""

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if bool(self.command) == (self.copied is not None):
            raise ValueError(f"step {self.name} needs either command or copy")
        if self.nodes is None:
            for name in ("fanout", "connect_timeout", "deadline"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} applies only to commands on nodes: set nodes, or remove {name}")
            if self.copied:
                raise ValueError(f"step {self.name} copies a file, but to no nodes: set nodes")
        elif self.command and "=" in self.command[0]:
            raise ValueError(f"the program {self.command[0]!r} contains =, so that nodes would read it as a variable")
        if self.copied and self.environment:
            raise ValueError(f"step {self.name} copies a file, which needs no environment: remove it")
        return self
