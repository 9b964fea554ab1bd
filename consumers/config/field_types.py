"""Types of the fields of a subscription file: what each may hold, and the error where it does not."""

import os
import pwd
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)

from router.model import durations
from router.settings.field_types import Checked, whole

ON_THIS_MACHINE = "on this machine"
"""The validation context in which users must exist."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
_RESERVED = "CLUSTERBUS_"
_NAME = "[a-z0-9][a-z0-9-]{0,62}"

PROGRAM = r"(?!-)(?![\s\S]*\{[{%])(?:/[\s\S]*|[^/]+)"
"""The first word of a command: an absolute path or a name, and no template."""


class Closed(BaseModel):
    """A part of a file: immutable, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


def _absolute(value: object) -> object:
    if isinstance(value, (str, Path)) and not os.path.isabs(value):  # noqa: PTH117 - a text may be no path at all
        raise ValueError(f"{str(value)!r} is not an absolute path")
    return value


def check_program(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return *command*; raises ValueError if its first word cannot be a program."""
    program = command[0] if command else ""
    if not program:
        raise ValueError("has no program: the first word is the program, such as in [/usr/bin/logger, text]")
    if "{{" in program or "{%" in program:
        raise ValueError("the program is a template: an event must not choose what runs")
    if program.startswith("-"):
        raise ValueError(f"the program {program!r} starts with a dash: name a program")
    if "/" in program and not program.startswith("/"):
        raise ValueError(f"the program {program!r} is a relative path: write an absolute path, or only the name")
    return command


def _variables(environment: dict[str, str]) -> dict[str, str]:
    for name in environment:
        if not _VARIABLE.match(name):
            raise ValueError(f"{name!r} is not the name of a variable: use A-Z a-z 0-9 _")
        if name.startswith(_RESERVED):
            raise ValueError(f"{name!r}: clusterbus itself sets the variables {_RESERVED}*")
    return environment


def check_user(name: str) -> None:
    """Raise ValueError if this machine has no user *name*."""
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError) as error:
        raise ValueError(f"there is no user {name!r} on this machine") from error


def _user(value: str | None, info: ValidationInfo) -> str | None:
    if value is not None and info.context == ON_THIS_MACHINE:
        check_user(value)
    return value


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for at, each in enumerate(values):
        if each in values[:at]:
            raise ValueError(f"lists {str(each)!r} twice")
    return values


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        # A bare number is usually meant as seconds, and often wrongly.
        raise ValueError(f"{value!r} is not a duration: write a number and a unit, such as 30s or 1h30m")  # noqa: TRY004 - pydantic takes it for a mistake in the value
    return durations.parse(value)


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("must be longer than 0s")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        raise ValueError("must be 1 to 63 characters of a-z, 0-9 and -, and begin with a letter or digit")
    return value


Name = Annotated[str, Checked(_name, whole(_NAME))]
"""The name of a subscription or of a rule of alerts."""

Words = Annotated[tuple[str, ...], Field(strict=False)]
EACH_ONCE = Checked(_each_once, {"uniqueItems": True})
"""Refuses a list in which a value stands twice."""

AbsolutePath = Annotated[
    Path, BeforeValidator(_absolute), Field(strict=False), WithJsonSchema({"type": "string", "pattern": "^/"})
]
Command = Annotated[
    Words,
    Checked(check_program, {"minItems": 1, "prefixItems": [{"type": "string", **whole(PROGRAM)}]}),
]
"""A program and its arguments; no event chooses the program."""

OptionalCommand = Annotated[
    Words,
    Checked(
        lambda command: command and check_program(command), {"prefixItems": [{"type": "string", **whole(PROGRAM)}]}
    ),
]
"""A program and its arguments, or nothing."""

Environment = Annotated[
    dict[str, str],
    Checked(_variables, {"propertyNames": {"pattern": f"^(?!{_RESERVED})[A-Za-z_][A-Za-z0-9_]{{0,99}}$"}}),
]
User = Annotated[str | None, AfterValidator(_user)]

Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    AfterValidator(_positive),
    PlainSerializer(durations.text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", **whole("(?=.*[1-9])" + durations.PATTERN), "examples": ["30s", "1h30m"]}),
]
"""A duration, such as `30s` or `1h30m`; the unit is required."""


def no_longer_than(limit: timedelta) -> Callable[[timedelta], timedelta]:
    """Return a validator that refuses a duration longer than *limit*."""

    def checked(value: timedelta) -> timedelta:
        if value > limit:
            raise ValueError(f"is longer than {durations.text(limit)}")
        return value

    return checked
