"""Fields that a subscriptions file is read into: what each may hold, and what is said where it does not."""

import os
import pwd
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

ON_THIS_MACHINE = "on this machine"
"""The validation context in which users have to exist."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
_RESERVED = "CLUSTERBUS_"


class Closed(BaseModel):
    """A part of a file: it never changes, and holds nothing that was not asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def listed(value: object) -> Any:  # noqa: ANN401 - what a file holds
    """Return one text as a list of it."""
    return (value,) if isinstance(value, str) else value


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


Words = Annotated[tuple[str, ...], Field(strict=False)]
Listed = Annotated[Words, BeforeValidator(listed)]
"""Several texts, or one."""

AbsolutePath = Annotated[Path, BeforeValidator(_absolute), Field(strict=False)]
Command = Annotated[Words, AfterValidator(_program)]
"""A program and its words; no event chooses the program."""

Environment = Annotated[dict[str, str], AfterValidator(_variables)]
User = Annotated[str | None, AfterValidator(_user)]
