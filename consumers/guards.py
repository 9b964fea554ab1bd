"""What has to hold before an action: how many run at once, a check that succeeds, somebody's word."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from .fields import Closed, Command
from .retries import Duration, no_longer_than


class Ask(Closed):
    """Somebody has to approve each delivery *within* that time, by `clusterbus jobs approve`; else it is skipped."""

    within: Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=31)))] = timedelta(hours=24)


class Guard(Closed):
    """What has to hold right before a delivery's handler is called.

    *at_most* bounds how many of the subscription run at once, over all consumers; the others wait in the broker.
    *only_when* is an expression over the event and the facts of its cluster that has to be true, *only_if* a command
    that has to succeed, within *timeout*; where one does not hold, the delivery is skipped.
    """

    at_most: int | None = Field(default=None, ge=1, le=1000)
    only_when: str | None = None
    only_if: Command | None = None
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(hours=1)))] = timedelta(seconds=30)
    ask: Ask | None = None
