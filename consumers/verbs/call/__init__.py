"""The verb `call`: a Python function, its parameters filled in from the event by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

from router.sections import Settings

from ...fields import Words
from ...retries import Duration, no_longer_than
from .. import Handler, Kinds, Remark, Surroundings, Verb

_UNITS: Mapping[str, int] = {"MiB": 2**20, "GiB": 2**30}
_LEAST_MEMORY = 256 * 2**20
TIMEOUT = timedelta(minutes=10)
"""How long an isolated call may take where nothing else is said."""


def _octets(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value!r} has no unit: write 512MiB or 2GiB")  # noqa: TRY004 - pydantic takes it for a mistake in the value
    if not isinstance(value, str):
        return value
    number, unit = value.strip()[:-3].strip(), value.strip()[-3:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or len(number) > 6:  # noqa: PLR2004 - a TiB has 7 digits of MiB
        raise ValueError(f"{value!r} is no amount of memory: write 512MiB or 2GiB")
    octets = int(number) * _UNITS[unit]
    if octets < _LEAST_MEMORY:
        raise ValueError(f"{value} are not enough for an interpreter: 256MiB at the least")
    return octets


Memory = Annotated[
    int,
    BeforeValidator(_octets),
    PlainSerializer(lambda value: f"{value // 2**20}MiB", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["512MiB", "2GiB"]}),
]


class CallVerb(Verb):
    """Call a Python function; its parameters are variables of the event, by their names.

    A text is the function: `call: site_handlers:warn`.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    function: Annotated[str, Field(min_length=1, max_length=1000)]
    isolate: bool = False
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=7)))] | None = None
    memory: Memory | None = None
    fixed: dict[str, JsonValue] = Field(default={}, alias="with")
    parms: Annotated[Words, Field(max_length=100)] = ()
    """What the first parameters get, in their order: `%fsName` is the variable, any other word is itself."""

    joined: bool = False
    """Whether a variable that is a list comes as one text, with commas, as its source writes it."""

    digest: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Which text of a handlers file is meant; handlers files say it themselves."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:  # noqa: ANN401 - pydantic's
        return {"function": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _bounded_where_it_can_be(self) -> Self:
        for name in ("timeout", "memory"):
            if getattr(self, name) is not None and not self.isolate:
                raise ValueError(f"{name} needs `isolate: true`: a thread of the consumer cannot be held to it")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema with the short form in it."""
        found = handler(schema)
        target = handler.resolve_ref_schema(found)
        whole = dict(target)
        target.clear()
        short = {"type": "string", "minLength": 1, "examples": ["site_handlers:warn"]}
        target |= {"title": whole.pop("title", "CallVerb"), "description": whole.pop("description", "")}
        target["anyOf"] = [short, whole]
        return found

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield that there is no such function, or that it asks for what no selected event has."""
        from .arguments import Arguments  # noqa: PLC0415 - what only reads a file imports nobody's functions
        from .references import Unusable, find, hidden  # noqa: PLC0415 - idem

        folders = settings.consumers.handlers
        try:
            target = find(self.function, folders, self.digest)
            yield from Arguments(target, self.fixed, self.parms).remarks(kinds)
        except Unusable as error:
            yield Remark(error.place, str(error))
        if message := hidden(self.function, folders):
            yield Remark(("function",), message, warning=True)

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what calls it.  Raises SubscriptionsError where there is no such function on this machine."""
        from .function import CallHandler  # noqa: PLC0415 - what is only checked needs no handler
        from .isolated import IsolatedHandler  # noqa: PLC0415 - idem

        return (IsolatedHandler if self.isolate else CallHandler)(self, surroundings)
