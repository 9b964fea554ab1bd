"""Guards: the conditions before an action, which are a limit of parallel runs, a check, and an approval."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from router.settings.field_types import ShortForm

from ..config.field_types import Closed, Command, Duration, no_longer_than
from .group_keys import Places

_FEWEST, _MOST = 1, 1000


class Ask(Closed):
    """Each delivery needs an approval by `clusterbus jobs approve` *within* this time; otherwise it is skipped."""

    within: Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=31)))] = timedelta(hours=24)


class AtMost(Closed):
    """At most *count* deliveries with the same values in *by* run at once; the *rest* waits or is skipped."""

    count: int = Field(ge=_FEWEST, le=_MOST)
    by: Places = ()
    rest: Literal["wait", "skip"] = "wait"


def _counted(value: object) -> object:
    return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


_COUNT = ShortForm(_counted, {"type": "integer", "minimum": _FEWEST, "maximum": _MOST})


class Guard(Closed):
    """The conditions that are checked right before a delivery's handler is called.

    *at_most* limits how many deliveries of the subscription run at once, over all consumers; a number is its count.
    *only_when* is an expression over the event and the facts of its cluster that must be true.  *only_if* is a command
    that must succeed within *timeout*.  If one of the two is not met, the delivery is skipped.
    """

    at_most: Annotated[AtMost, _COUNT] | None = None
    only_when: str | None = None
    only_if: Command | None = None
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(hours=1)))] = timedelta(seconds=30)
    ask: Ask | None = None
