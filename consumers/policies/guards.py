"""Guards: the conditions before an action, which are limits over all consumers, checks, and an approval."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from router.errors import did_you_mean
from router.model import durations
from router.settings.field_types import Checked, ShortForm

from ..config.field_types import Closed, Command, Duration, no_longer_than
from ..errors import FilterError
from ..expressions.filters import Filter
from .group_keys import Places

_FEWEST, _MOST = 1, 1000


class Ask(Closed):
    """Each delivery needs an approval by `clusterbus jobs approve` *within* this time; otherwise it is skipped."""

    within: Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=31)))] = timedelta(hours=24)


PER = ("subscription", "target", "node", "file_system", "action", "class")
"""What `at_most` counts at; anything else is an expression."""


def _per(value: str) -> str:
    if value in PER:
        return value
    if value.replace("_", "").replace("-", "").isalpha() and value.islower():
        near = did_you_mean(value, PER) or f"; it is one of {', '.join(PER)}, or an expression such as data.fsName"
        raise ValueError(f"{value!r} is nothing that is counted{near}")
    try:
        Filter(value)
    except FilterError as error:
        raise ValueError(str(error)) from error
    return value


class AtMost(Closed):
    """At most *count* deliveries run at once *per* what is limited; the *rest* waits or is skipped.

    That is this subscription, or a target, node, file system, action, class of actions or the value of an expression,
    over all subscriptions that limit the same.  Of these, those with the same values in *by* are counted together.
    """

    count: int = Field(ge=_FEWEST, le=_MOST)
    per: Annotated[str, Checked(_per, {"minLength": 1})] = "subscription"
    by: Places = ()
    rest: Literal["wait", "skip"] = "wait"


def _counted(value: object) -> object:
    return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _listed(value: object) -> object:
    return value if value is None or isinstance(value, list | tuple) else (value,)


_COUNT = ShortForm(_counted, {"type": "integer", "minimum": _FEWEST, "maximum": _MOST})
_LIMITS = Field(strict=False, min_length=1, max_length=10)


_MONTH = AfterValidator(no_longer_than(timedelta(days=31)))


def _one_count(schema: dict[str, Any]) -> None:
    """Say in the JSON *schema* that a radius has either a number or a percentage, and that a class needs the latter."""
    schema |= {"oneOf": [{"required": ["nodes"], "not": {"required": ["of"]}}, {"required": ["percent"]}]}


class BlastRadius(Closed):
    """Act on at most so many *nodes* *within* a time, or on so many *percent* *of* a node class or of the cluster.

    Never on so many quorum nodes at once that the cluster would lose its quorum.  The *rest* waits or is skipped.
    """

    model_config = ConfigDict(json_schema_extra=_one_count)

    nodes: int | None = Field(default=None, ge=1, le=20_000, json_schema_extra={"type": "integer"})
    percent: int | None = Field(default=None, ge=1, le=100)
    of: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    within: Annotated[Duration, _MONTH]
    rest: Literal["wait", "skip"] = "wait"

    @model_validator(mode="after")
    def _counted_once(self) -> Self:
        if (self.nodes is None) == (self.percent is None):
            raise ValueError("needs either nodes or percent")
        if self.of is not None and self.percent is None:
            raise ValueError("of is a node class that percent is of: write percent, or remove of")
        return self

    def most(self, count: int) -> int:
        """Return on how many nodes it lets act, if the class or cluster has *count*: at least on one.

        >>> BlastRadius(percent=10, within=timedelta(hours=1)).most(48)
        4
        """
        return self.nodes if self.nodes is not None else max(1, count * (self.percent or 0) // 100)

    @property
    def text(self) -> str:
        """The time, for people, and what the percentage is of."""
        of = "" if self.percent is None else f" ({self.percent} % of {self.of or 'the cluster'})"
        return f"{durations.text(self.within)}{of}"


class First(Closed):
    """Of the nodes of a delivery, so many *nodes* first; the others after a *wait*, if all went well there."""

    nodes: int = Field(ge=1, le=1000)
    wait: Annotated[Duration, _MONTH] = timedelta()


def _first(value: object) -> object:
    return {"nodes": value} if isinstance(value, int) and not isinstance(value, bool) else value


_FIRST = ShortForm(_first, {"type": "integer", "minimum": 1, "maximum": 1000})


class StopAfter(Closed):
    """After so many *failures* *within* a time nothing is called until a person lets it go on.

    A failure is a failed attempt.  The *rest* waits or is skipped.
    """

    failures: int = Field(ge=1, le=1000)
    within: Annotated[Duration, _MONTH] = timedelta(hours=1)
    rest: Literal["wait", "skip"] = "wait"


def _failures(value: object) -> object:
    return {"failures": value} if isinstance(value, int) and not isinstance(value, bool) else value


_FAILURES = ShortForm(_failures, {"type": "integer", "minimum": 1, "maximum": 1000})


class Guard(Closed):
    """The conditions that are checked right before a delivery's handler is called.

    *at_most* limits how many deliveries run at once, over all consumers; a number is the count of this subscription.
    *blast_radius* limits on how many nodes within a time, *first* on which of its nodes a delivery acts first.
    *stop_after* so many failures a person has to let it go on.
    *acts_on* is a template of the nodes that a command which runs here acts on.
    *only_when* is an expression over the event and the facts of its cluster that must be true.  *only_if* is a command
    that must succeed within *timeout*.  If one of the two is not met, the delivery is skipped.
    """

    at_most: Annotated[tuple[Annotated[AtMost, _COUNT], ...], _LIMITS, ShortForm(_listed)] | None = None
    blast_radius: BlastRadius | None = None
    first: Annotated[First, _FIRST] | None = None
    stop_after: Annotated[StopAfter, _FAILURES] | None = None
    acts_on: Annotated[str, Field(min_length=1)] | None = None
    only_when: str | None = None
    only_if: Command | None = None
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(hours=1)))] = timedelta(seconds=30)
    ask: Ask | None = None

    @property
    def takes_places(self) -> bool:
        """Whether deliveries are counted while they run."""
        return self.at_most is not None or self.blast_radius is not None

    @property
    def asks_for_nodes(self) -> bool:
        """Whether a limit is about the nodes on which a delivery acts."""
        return bool(self.blast_radius or self.first) or any(each.per == "node" for each in self.at_most or ())
