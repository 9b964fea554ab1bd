"""Guards: the conditions before an action, which are a limit of parallel runs, a check, and an approval."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from ..config.field_types import Closed, Command, Duration, no_longer_than
from .group_keys import Places

_FEWEST, _MOST = 1, 1000


class Ask(Closed):
    """Each delivery needs an approval by `clusterbus jobs approve` *within* this time; otherwise it is skipped."""

    within: Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=31)))] = timedelta(hours=24)


class AtMost(Closed):
    """At most *count* deliveries with the same values in *by* run at once; the *rest* waits or is skipped.

    A number alone is its count: `at_most: 2`.
    """

    count: int = Field(ge=_FEWEST, le=_MOST)
    by: Places = ()
    rest: Literal["wait", "skip"] = "wait"

    @model_validator(mode="before")
    @classmethod
    def _of_number(cls, value: object) -> object:
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return a schema that accepts a number, too."""
        number: dict[str, Any] = {"type": "integer", "minimum": _FEWEST, "maximum": _MOST}
        return {"anyOf": [number, handler(schema)]}


class Guard(Closed):
    """The conditions that are checked right before a delivery's handler is called.

    *at_most* limits how many deliveries of the subscription run at once, over all consumers.
    *only_when* is an expression over the event and the facts of its cluster that must be true.  *only_if* is a command
    that must succeed within *timeout*.  If one of the two is not met, the delivery is skipped.
    """

    at_most: AtMost | None = None
    only_when: str | None = None
    only_if: Command | None = None
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(hours=1)))] = timedelta(seconds=30)
    ask: Ask | None = None
