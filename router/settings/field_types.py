"""Types of the fields of files that people write.  One definition checks a value and describes it in the JSON Schema.

A schema cannot show what a Python function checks, so `Checked` and `ShortForm` say both.  Patterns are regular
expressions that Python and ECMA 262 read alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from ..model import durations


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A value that *check* returns; it raises ValueError for others.  *keywords* say the same in the JSON Schema."""

    check: Callable[[Any], Any]
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the type's own schema with the check after it."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the type's own JSON Schema with the keywords."""
        return {**handler(schema), **self.keywords}


@dataclass(frozen=True, slots=True, eq=False)
class ShortForm:
    """A shorter way to write a value: *expand* returns the full form, *schema* describes the short one.

    Without *schema*, the short form is a single item of the list that the value is.  *expand* returns full forms
    unchanged.  This annotation stands after all that bound the full form.
    """

    expand: Callable[[Any], Any]
    schema: Mapping[str, Any] | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the type's own schema with the expansion before it."""
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return a JSON Schema that accepts both forms."""
        full = handler(schema)
        return {"anyOf": [dict(self.schema or full["items"]), full]}


def matching(pattern: str, wrong: str) -> Checked:
    """Return the annotation of a text that matches *pattern* as a whole; errors say the text and what is *wrong*.

    >>> matching("[a-z]+", "is not a word").check("Word")
    Traceback (most recent call last):
    ValueError: 'Word' is not a word
    """
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"{text!r} {wrong}")
        return text

    return Checked(check, whole(pattern))


def whole(pattern: str) -> dict[str, str]:
    """Return the keyword that asks for *pattern* from the first to the last character.

    >>> whole("a|b")
    {'pattern': '^(?:a|b)$'}
    """
    return {"pattern": f"^(?:{pattern})$"}


def in_any_case(pattern: str) -> str:
    """Return *pattern*, in lower-case letters, as one that matches capitals too; no option of the engine is needed.

    >>> in_any_case("on|0")
    '[oO][nN]|0'
    """
    return re.sub("[a-z]", lambda found: f"[{found[0]}{found[0].upper()}]", pattern)


def _duration(value: object) -> timedelta:
    if isinstance(value, (Mapping, list, tuple)):
        # As a text it would be repeated, with whatever is in it.
        raise ValueError("must be a duration, such as 30s or 1h30m")  # noqa: TRY004 - a mistake in the value
    return value if isinstance(value, timedelta) else durations.parse(str(value))


def _octets(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch("[0-9]{1,18}", value, re.ASCII):
        return value
    if found := re.fullmatch(_SIZE, value):
        return int(found[1]) * _UNITS[found[2]]
    raise ValueError("is not a size: write a number and KiB, MiB, GiB or TiB, such as 512MiB")


def _words(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _not_empty(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words:
        raise ValueError("must not be empty")
    return words


def _a_week_at_least(value: timedelta) -> timedelta:
    if value < timedelta(days=7):
        raise ValueError("must be at least 7d")
    return value


DEFAULTS: Any = Field(default={}, validate_default=True)
"""A section that nobody has set.  One schema for all sections costs half as much time as one for each."""

SECRET = Field(repr=False)
"""The field may hold a secret, such as a password in a URL: no message and no table shows it unredacted."""

ONE_OR_SEVERAL = ShortForm(_listed)
"""Makes a list of texts also accept its only item without the brackets."""

_SEPARATED = ShortForm(_words, {"type": "string"})

Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", **whole(durations.PATTERN), "examples": ["30s", "1h30m"]}),
]
Weeks = Annotated[Duration, Checked(_a_week_at_least)]
"""A duration of a week or longer."""

_UNITS: Mapping[str, int] = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = f"([1-9][0-9]{{0,5}}) ?({'|'.join(_UNITS)})"

Size = Annotated[int, ShortForm(_octets, {"type": "string", **whole(_SIZE), "examples": ["512MiB", "1GiB"]})]
"""A number of octets, or a text with a unit such as `1GiB`.  Bounds stand before it: `Annotated[int, ..., *]`."""

_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"

ListenAddress = Annotated[
    str,
    matching(
        rf"(?:(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(?:{_PORT}))?",
        "is not an address to listen at, such as 127.0.0.1:9464 or [::1]:9464",
    ),
]
"""`HOST:PORT`, or nothing."""

SchemaAddress = Annotated[
    str,
    matching(
        r"(?:https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?(?:/[A-Za-z0-9._~-]+)*/?)?",
        "is not a URL to serve schemas at, such as https://hub.example.com/schemas",
    ),
]
"""An absolute URL without user, query and fragment, as it begins each event's `dataschema`; or nothing."""

Folders = Annotated[tuple[Path, ...], _SEPARATED]
Words = Annotated[tuple[str, ...], _SEPARATED]
"""Several words: a list, or a text with blanks between them."""

AtLeastOneWord = Annotated[
    tuple[str, ...], Checked(_not_empty, {"minItems": 1}), ShortForm(_words, {"type": "string", "pattern": r"\S"})
]
Names = Annotated[frozenset[str], WithJsonSchema({"type": "array", "items": {"type": "string"}})]
"""A set, written as a list in which a name may stand twice."""
