"""Whether a router works or stands by.  The broker does not tell a router that another one gets the records."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ..programs.health import Activity
from .router import Router

_LATELY = timedelta(minutes=2)
"""Each node sends a heartbeat every minute: the router that works has received one in this time."""


def activity(router: Router, now: datetime | None = None) -> Activity:
    """Return what *router* does."""
    return replace(router.activity, doing=_doing(router.ingress.heard, now or datetime.now(UTC)))


def _doing(heard: datetime | None, now: datetime) -> str:
    if heard is None:
        return "standing by, or no node sends: no record came here yet"
    if now - heard < _LATELY:
        return "active"
    return "standing by, or no node sends: no record came here for two minutes"
