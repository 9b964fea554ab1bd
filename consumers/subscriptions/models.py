"""The values of a subscription: name, patterns, filter, verb, retry policy.  `validation` reads them from files."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, create_model, model_validator

from router.settings.field_types import ONE_OR_SEVERAL

from ..alerts import shipped_rules
from ..alerts.rules import Rule
from ..config.field_types import Closed, Name, Words
from ..expressions.filters import Filter
from ..expressions.values.alert_values import SUPPRESSED_BY
from ..policies.enrichment import FactValues, Meta
from ..policies.group_keys import Places
from ..policies.guards import Ask, Guard
from ..policies.retry import RetryPolicy
from ..policies.schedules import timed_events
from ..policies.schedules.delays import WrittenDelay
from ..policies.schedules.timers import WrittenEvery
from ..policies.throttling import Folding, Limit, OncePer
from ..verbs.interface import Verb, installed
from .test_cases import AlertTest, Expectation

Mode = Literal["live", "shadow", "off"]
"""`shadow` does everything except the effect, and records what would have been done.  `off` serves nothing."""


class Entry(Closed):
    """One subscription as written in a file; the fields of the verbs are added below."""

    name: Name
    """Names the queue; a new name is a new subscription."""
    on: Annotated[Words, Field(min_length=1, max_length=100), ONE_OR_SEVERAL]
    """Event types, categories or patterns of topics: one or several."""
    every: WrittenEvery | None = None
    """When it is due, in place of `on`: `1h`, or clock times."""
    where: str | None = None
    """A filter in CEL over the event."""
    retry: RetryPolicy = RetryPolicy()
    concurrency: int = Field(default=1, ge=1, le=64)
    """How many events are handled at once."""
    order_by: Places = ()
    """Events with the same values at these places are handled one after another."""
    delay: WrittenDelay | None = None
    """How long a delivery waits before its first attempt."""
    fold: Folding | None = None
    once_per: OncePer | None = None
    limit: Limit | None = None
    guard: Guard | None = None
    facts: FactValues = Field(default={})
    """Values from the facts of the cluster that handlers get with the event, as expressions by name."""
    meta: Meta = Field(default={})
    """Words of its own, which go to outcomes and notifications."""
    mode: Mode = "live"
    """`shadow` records what would be done; `off` leaves events in the queue."""
    tests: Annotated[tuple[Expectation, ...], Field(strict=False, max_length=1000)] = ()
    """Events and the results that `check` expects of them."""

    @model_validator(mode="after")
    def _has_own_events(self) -> Self:
        if self.every is not None and self.on != (timed_events.pattern(self.name),):
            raise ValueError("`every` has events of its own: remove `on`, or write another subscription")
        return self


_verbs: dict[str, Any] = {kind: (model | None, None) for kind, model in installed().items()}
EntryWithVerb: type[Entry] = create_model(
    "Subscription", __base__=Entry, __doc__="What to do for which events; exactly one verb says what.", **_verbs
)


class RuleEntry(Rule):
    """What opens one kind of alert, what closes it, and who is to know; shipped rules are changed by their name."""

    tests: Annotated[tuple[AlertTest, ...], Field(strict=False, max_length=1000)] = ()
    """What happens and what is expected of it, which `check` tries."""

    @property
    def rule(self) -> Rule:
        """The rule without its tests, which do not change its meaning."""
        return Rule.model_construct(**{name: getattr(self, name) for name in Rule.model_fields})


class Defaults(Closed):
    """Values for each subscription of the file that does not set its own."""

    retry: RetryPolicy = RetryPolicy()


def _number(value: object) -> object:
    if value is True:  # which is equal to 1
        raise ValueError("must be 1, not true")
    return value


class Frame(Closed):
    """What is around the entries of a subscriptions file."""

    version: Annotated[Literal[1], BeforeValidator(_number)]
    """The version of the format."""
    defaults: Defaults = Field(default_factory=Defaults)
    subscriptions: list[Any]
    alerts: list[Any] = Field(default=[])


class File(Frame):
    """A subscriptions file: it has `subscriptions`, `alerts`, or both."""

    subscriptions: list[EntryWithVerb]  # type: ignore[valid-type]  # made from the installed verbs
    """What to do for which events."""
    alerts: list[RuleEntry] = Field(default=[])
    """What is wrong while some events have happened, and others have not yet."""


_BY_ALERT = ("data.alert",)


class Subscription(Entry):
    """One valid subscription: *patterns* are its bindings, *kind* is the name of its verb."""

    patterns: Words
    kind: str
    verb: SerializeAsAny[Verb]
    line: int = 0
    file: str = ""

    @property
    def approval(self) -> Ask | None:
        """What people are asked right before each attempt; None where they are not, as in mode `shadow`."""
        return self.guard.ask if self.guard and self.mode == "live" else None

    @property
    def leaves_out_suppressed(self) -> bool:
        """Whether it does not get suppressed changes of alerts: unless its filter asks for them."""
        asks = self.where is not None and SUPPRESSED_BY in Filter(self.where).variables
        return self.verb.leaves_out_suppressed and not asks

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        """Its meaning as plain values: two subscriptions with equal meanings are served alike."""
        return self.model_dump(mode="json", exclude={"line", "file", "tests"})

    @model_validator(mode="before")
    @classmethod
    def _verb_by_kind(cls, values: Any) -> Any:  # noqa: ANN401 - pydantic's
        """Restore the verb's own model when a subscription is read from JSON; order what keeps alerts elsewhere."""
        if not isinstance(values, dict):
            return values
        verb: Any = values.get("verb")
        if isinstance(verb, dict):
            verb = installed()[values["kind"]].restored(verb)
            values = values | {"verb": verb}
        return values | {"order_by": _BY_ALERT} if isinstance(verb, Verb) and verb.keeps_alerts else values


class Subscriptions(Closed):
    """All subscriptions of one load, and its *rules* of alerts; two loads with equal meanings have equal digests."""

    subscriptions: Annotated[tuple[Subscription, ...], Field(strict=False)] = ()
    rules: Annotated[tuple[Rule, ...], Field(strict=False)] = ()
    """Those in the files, completed where they change shipped ones."""

    @cached_property
    def digest(self) -> str:
        """A hash of their meaning; order, line numbers and comments do not change it."""
        meant = {each.name: each.meaning for each in self.subscriptions}
        rules = {each.name: each.model_dump(mode="json") for each in self.rules}
        return hashlib.sha256(json.dumps([meant, rules], sort_keys=True).encode()).hexdigest()

    @cached_property
    def alerts(self) -> tuple[Rule, ...]:
        """All rules of alerts, with the shipped ones; those that are switched off are there too."""
        return tuple({**shipped_rules.rules(), **{each.name: each for each in self.rules}}.values())

    @cached_property
    def by_name(self) -> Mapping[str, Subscription]:
        """The subscriptions by name."""
        return {each.name: each for each in self.subscriptions}
