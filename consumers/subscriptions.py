"""Subscriptions: a name, what it is on, a filter, a verb, a retry policy.  Values only; `check` reads them."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SerializeAsAny, create_model, model_validator

from .expectations import Expectation
from .fields import Closed, Listed, Words
from .groupings import Places
from .guards import Guard
from .retries import RetryPolicy
from .storms import Folding, Limit, OncePer
from .verbs import Verb, installed

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError("has to be 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit")
    return value


Name = Annotated[str, AfterValidator(_name)]
Mode = Literal["live", "shadow", "off"]
"""`shadow`: everything but the effect, which is recorded as what would have been done."""


class Entry(Closed):
    """One subscription as it is written; the verbs are added below."""

    name: Name
    on: Annotated[Listed, Field(min_length=1, max_length=100)]
    where: str | None = None
    retry: RetryPolicy = RetryPolicy()
    concurrency: int = Field(default=1, ge=1, le=64)
    order_by: Places = ()
    fold: Folding | None = None
    once_per: OncePer | None = None
    limit: Limit | None = None
    guard: Guard | None = None
    mode: Mode = "live"
    tests: Annotated[tuple[Expectation, ...], Field(strict=False, max_length=1000)] = ()


_verbs: dict[str, Any] = {kind: (model | None, None) for kind, model in installed().items()}
EntryWithVerb: type[Entry] = create_model("Subscription", __base__=Entry, __doc__=Entry.__doc__, **_verbs)


class Defaults(Closed):
    """What holds for each subscription of the file that does not say otherwise."""

    retry: RetryPolicy = RetryPolicy()


class File(Closed):
    """A subscriptions file."""

    version: Literal[1]
    defaults: Defaults = Defaults()
    subscriptions: list[EntryWithVerb]  # type: ignore[valid-type]  # made from what is installed


class Subscription(Entry):
    """One subscription, checked: *patterns* are its bindings, *kind* is its verb's name."""

    patterns: Words
    kind: str
    verb: SerializeAsAny[Verb]
    line: int = 0
    file: str = ""

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        """What it means, as plain values: two that are equal in this are served alike."""
        return self.model_dump(mode="json", exclude={"line", "file", "tests"})

    @model_validator(mode="before")
    @classmethod
    def _verb_by_kind(cls, values: Any) -> Any:  # noqa: ANN401 - pydantic's
        """Read the verb as what it is, where a subscription comes back from JSON."""
        if isinstance(values, dict) and isinstance(verb := values.get("verb"), dict):
            return values | {"verb": installed()[values["kind"]].model_validate(verb)}
        return values


class Subscriptions(Closed):
    """All subscriptions of one reading; two readings that mean the same have the same *digest*."""

    subscriptions: Annotated[tuple[Subscription, ...], Field(strict=False)] = ()

    @cached_property
    def digest(self) -> str:
        """A hash of what they mean: of neither their order nor their places, nor of comments."""
        meant = {each.name: each.meaning for each in self.subscriptions}
        return hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()

    @cached_property
    def by_name(self) -> Mapping[str, Subscription]:
        """The subscriptions by their names."""
        return {each.name: each for each in self.subscriptions}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a subscriptions file, for editors."""
    return File.model_json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
