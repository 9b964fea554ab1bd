"""Subscriptions: a name, what it is on, a filter, a verb, a retry policy.  Values only; `check` reads them from files.

The verbs are the entries of `VERBS`: each is a model of what can be written below its name, and adding one there is
all that a file, its checks and its schema need.
"""

import hashlib
import json
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    model_validator,
)

from .retries import Duration, RetryPolicy

ON_THIS_MACHINE = "on this machine"
"""The validation context in which users have to exist."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
_RESERVED = "CLUSTERBUS_"


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError("has to be 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit")
    return value


def _absolute(value: object) -> object:
    if isinstance(value, (str, Path)) and not os.path.isabs(value):  # noqa: PTH117 - a text may be no path at all
        raise ValueError(f"{str(value)!r} is no absolute path")
    return value


def _program(command: tuple[str, ...]) -> tuple[str, ...]:
    program = command[0] if command else ""
    if not program:
        raise ValueError("has no program: the first word is the program, as in [/usr/bin/logger, text]")
    if "{{" in program or "{%" in program:
        raise ValueError("the program is a template: no event may choose what is run")
    if program.startswith("-"):
        raise ValueError(f"the program {program!r} begins with a dash")
    if "/" in program and not program.startswith("/"):
        raise ValueError(f"the program {program!r} is a relative path: write it from /, or its name alone")
    return command


def _variables(environment: dict[str, str]) -> dict[str, str]:
    for name in environment:
        if not _VARIABLE.match(name):
            raise ValueError(f"{name!r} is no name of a variable")
        if name.startswith(_RESERVED):
            raise ValueError(f"{name!r}: names in {_RESERVED}* are given by clusterbus")
    return environment


def _user(value: str | None, info: ValidationInfo) -> str | None:
    if value is not None and info.context == ON_THIS_MACHINE:
        try:
            pwd.getpwnam(value)
        except (KeyError, ValueError) as error:
            raise ValueError(f"there is no user {value!r} on this machine") from error
    return value


def _within_a_week(value: timedelta) -> timedelta:
    if value > timedelta(days=7):
        raise ValueError("is longer than 7d")
    return value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], Field(strict=False)]
AbsolutePath = Annotated[Path, BeforeValidator(_absolute), Field(strict=False)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Verb(_Closed):
    """What is done with an event."""

    templates: ClassVar[tuple[str, ...]] = ()
    """The fields whose texts are templates."""

    def remarks(self) -> Iterator[tuple[str, str]]:
        """Yield (field, what may not have been meant) as this machine is now."""
        yield from ()


class LogVerb(_Verb):
    """Write the event down: in the store, with its audit, and as a line of JSON in *file*."""

    kind: Literal["log"] = "log"
    file: AbsolutePath | None = None
    store: bool = True

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.file is None and not self.store:
            raise ValueError("writes nowhere: give it a file, or leave out `store: false`")
        return self

    def remarks(self) -> Iterator[tuple[str, str]]:
        """Yield that the folder of the file is missing."""
        if self.file and not self.file.parent.is_dir():
            yield "file", f"the folder {self.file.parent} is not there: make it before an event comes"


class RunVerb(_Verb):
    """Run a command on this machine, with the event on its standard input; its exit code is the outcome."""

    templates = ("command", "environment")

    kind: Literal["run"] = "run"
    command: Annotated[Words, AfterValidator(_program)]
    timeout: Annotated[Duration, AfterValidator(_within_a_week)] = timedelta(minutes=10)
    environment: Annotated[dict[str, str], AfterValidator(_variables)] = {}
    user: Annotated[str | None, AfterValidator(_user)] = None
    output: int = Field(default=65536, ge=1024, le=16_777_216)

    def remarks(self) -> Iterator[tuple[str, str]]:
        """Yield that the program is not there."""
        if self.command[0].startswith("/") and not os.access(self.command[0], os.X_OK):
            yield "command", f"no program {self.command[0]} can be run on this machine"


Verb = LogVerb | RunVerb
VERBS: Mapping[str, type[Verb]] = {"log": LogVerb, "run": RunVerb}


class Entry(_Closed):
    """One subscription as it is written; the verbs are added below."""

    name: Annotated[str, AfterValidator(_name)]
    on: Annotated[Words, BeforeValidator(_listed), Field(min_length=1, max_length=100)]
    where: str | None = None
    retry: RetryPolicy = RetryPolicy()
    concurrency: int = Field(default=1, ge=1, le=64)
    mode: Literal["live", "off"] = "live"


_verbs: dict[str, Any] = {kind: (model | None, None) for kind, model in VERBS.items()}
EntryWithVerb: type[Entry] = create_model("Subscription", __base__=Entry, __doc__=Entry.__doc__, **_verbs)


class Defaults(_Closed):
    """What holds for each subscription of the file that does not say otherwise."""

    retry: RetryPolicy = RetryPolicy()


class File(_Closed):
    """A subscriptions file."""

    version: Literal[1]
    defaults: Defaults = Defaults()
    subscriptions: list[EntryWithVerb]  # type: ignore[valid-type]  # made from VERBS above


class Subscription(_Closed):
    """One subscription, checked.  *patterns* are its bindings; *line* and *file* say where it is written."""

    name: str
    on: Words
    patterns: Words
    where: str | None = None
    verb: Verb = Field(discriminator="kind")
    retry: RetryPolicy = RetryPolicy()
    concurrency: int = 1
    mode: Literal["live", "off"] = "live"
    line: int = 0
    file: str = ""


class Subscriptions(_Closed):
    """All subscriptions of one reading; two readings that mean the same have the same *digest*."""

    subscriptions: Annotated[tuple[Subscription, ...], Field(strict=False)] = ()

    @cached_property
    def digest(self) -> str:
        """A hash of what they mean: of neither their order nor their places, nor of comments."""
        places = {"line", "file"}
        meant = {each.name: each.model_dump(mode="json", exclude=places) for each in self.subscriptions}
        return hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()

    @cached_property
    def by_name(self) -> Mapping[str, Subscription]:
        """The subscriptions by their names."""
        return {each.name: each for each in self.subscriptions}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a subscriptions file, for editors."""
    return File.model_json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
