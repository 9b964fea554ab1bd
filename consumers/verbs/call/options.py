"""The options of the verb `call`: a Python function whose parameters are variables of the event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from router.settings.field_types import whole
from router.settings.models import Settings

from ...config.event_samples import Kinds, Remark
from ...config.field_types import Duration, Words, no_longer_than
from ..interface import Verb

_UNITS: Mapping[str, int] = {"MiB": 2**20, "GiB": 2**30}
_LEAST_MEMORY = 256 * 2**20
# At most six digits: 256 MiB or more, or any GiB but none.
_MEMORY = (
    r"\s*(?=[0-9]{1,6}\s*[GM])0*(?:(?:25[6-9]|2[6-9][0-9]|[3-9][0-9]{2}|[1-9][0-9]{3,})\s*MiB|[1-9][0-9]*\s*GiB)\s*"
)
_NAME = r"[^\x00-@\[-^`{-\x7f][^\x00-/:-@\[-^`{-\x7f]*"
_FUNCTION = whole(rf"[^:]+|(?:/[\s\S]*|{_NAME}(?:\.{_NAME})*):{_NAME}(?:\.{_NAME})*")
"""What a function looks like, for editors; `references` says what is wrong with another text."""

TIMEOUT = timedelta(minutes=10)
"""Default timeout of an isolated call."""


def _octets(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value!r} has no unit: write 512MiB or 2GiB")  # noqa: TRY004 - pydantic needs a ValueError
    if not isinstance(value, str):
        return value
    number, unit = value.strip()[:-3].strip(), value.strip()[-3:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or len(number) > 6:  # noqa: PLR2004 - a TiB has 7 digits of MiB
        raise ValueError(f"{value!r} is not an amount of memory: write 512MiB or 2GiB")
    octets = int(number) * _UNITS[unit]
    if octets < _LEAST_MEMORY:
        raise ValueError(f"{value} is not enough for a Python process: write at least 256MiB")
    return octets


Memory = Annotated[
    int,
    BeforeValidator(_octets),
    PlainSerializer(lambda value: f"{value // 2**20}MiB", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", **whole(_MEMORY), "examples": ["512MiB", "2GiB"]}),
]


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return *value*; raises ValueError if it holds a template, which would be passed as it is written."""
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        raise ValueError(
            f"{value[:60]!r} would be passed as it is written, since call has no templates: name a parameter like the"
            ' variable, or write parms: ["%fsName"]'
        )
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        _plain(each)
    return value


class CallOptions(Verb):
    """Call a Python function; its parameters are variables of the event with the same names.

    Short form: `call: site_handlers:warn`.
    """

    model_config = ConfigDict(serialize_by_alias=True)
    short_form = "function"

    function: Annotated[
        str, Field(min_length=1, max_length=1000, json_schema_extra=_FUNCTION | {"examples": ["site_handlers:warn"]})
    ]
    """The function, as `module:function`."""
    isolate: bool = False
    """Whether to call it in a process of its own."""
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=7)))] | None = None
    """The limit for an isolated call."""
    memory: Memory | None = None
    """The most memory that an isolated call may use, such as 512MiB."""
    fixed: Annotated[dict[str, JsonValue], AfterValidator(_plain)] = Field(default={}, alias="with")
    """Fixed values of parameters, by name."""
    parms: Annotated[Words, Field(max_length=100), AfterValidator(_plain)] = ()
    """Values of the first parameters, in order: `%fsName` is a variable, any other word is a fixed text."""

    joined: bool = False
    """Whether a variable that is a list becomes one text with commas, as the source writes it."""

    digest: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the handlers file; set automatically by handlers files."""

    @model_validator(mode="after")
    def _bounded_where_it_can_be(self) -> Self:
        for name in ("timeout", "memory"):
            if getattr(self, name) is not None and not self.isolate:
                raise ValueError(f"{name} needs `isolate: true`: a thread of the consumer cannot be limited")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema, also with what only isolated calls have."""
        found = super().__get_pydantic_json_schema__(schema, handler)
        _, full = handler.resolve_ref_schema(found)["anyOf"]
        unbounded = {name: {"type": "null"} for name in ("timeout", "memory")}
        isolated = {"properties": {"isolate": {"const": True}}, "required": ["isolate"]}
        full |= {"if": isolated, "else": {"properties": unbounded}}
        return found

    @property
    def named_variables(self) -> Sequence[str]:
        """The variables among the words of `parms`."""
        return [each[1:] for each in self.parms if each.startswith("%")]

    def implied_variables(self, settings: Settings) -> Sequence[str]:
        """Return the variables that the function gets by the names of its parameters; none if it cannot be found."""
        from .arguments import Arguments  # noqa: PLC0415 - reading a file must not import functions
        from .references import Unusable, find  # noqa: PLC0415 - as above

        try:
            target = find(self.function, settings.consumers.handlers, self.digest)
            return Arguments(target, self.fixed, self.parms).implied
        except Unusable:
            return ()

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield mistakes in the function of a handlers file, which is itself the file of the subscription."""
        if self.digest:
            yield from self._about_function(kinds, settings)

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield a mistake if the function does not exist, or needs a variable that no selected event has."""
        from .references import hidden  # noqa: PLC0415 - reading a file must not import functions

        if not self.digest:
            yield from self._about_function(kinds, settings)
        if message := hidden(self.function, settings.consumers.handlers):
            yield Remark(("function",), message, warning=True)

    def _about_function(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        from .arguments import Arguments  # noqa: PLC0415 - as above
        from .references import Unusable, find  # noqa: PLC0415 - as above

        try:
            target = find(self.function, settings.consumers.handlers, self.digest)
            target.check()
            yield from Arguments(target, self.fixed, self.parms).remarks(kinds)
        except Unusable as error:
            yield Remark(error.place, str(error))
