"""What one event says of one alert, and of how many alerts at most."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from router.model.events import Event, Severity
from router.pipeline.reports.confirmations import ENDS

from .alert_row import About

log = logging.getLogger(__name__)

MOST_OPENED = 300
"""Most alerts of one rule that one event opens: what lists more is a fault of the whole cluster, or made up."""

LONGEST_SUMMARY = 500
"""Most characters of a summary."""

_SHOWN = 60
_NAMED = 5
"""How many of the alerts that are left out the log names."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one event says of one alert: it opens it or closes it.

    *node* is the node that the alert is about, as events name it; empty if it is about none.  *severity*, *summary* and
    *owner* are those of an opening; what closes has no summary and no owner.  *left_out* says how many more alerts of
    the rule the event would have opened; it is in the last opening, whose summary says it too.  *confirmed_by* is the
    node that reports the same as what opened or closed it, where the event only says that.
    """

    rule: str
    cluster: str
    about: About
    opens: bool
    severity: Severity
    summary: str = ""
    node: str = ""
    owner: str | None = None
    left_out: int = 0
    confirmed_by: str = ""


def with_left_out(last: Sighting, left_out: Sequence[About], event: Event) -> Sighting:
    """Return *last*, the last opening of *event*, with how many alerts are left out after it; log which."""
    names = [shown(each) for each in left_out[:_NAMED]]
    facts = {"rule": last.rule, "event": event.id, "limit": MOST_OPENED, "left_out": len(left_out), "first": names}
    log.error("an event would open too many alerts, the rest is left out", extra=facts)
    note = f" (and {len(left_out):,} more in this event, without alerts of their own)"
    return replace(last, summary=last.summary[: LONGEST_SUMMARY - len(note)] + note, left_out=len(left_out))


def confirming(sightings: Iterable[Sighting], report: Event) -> Iterator[Sighting]:
    """Yield those of *sightings*, which are of *report*, that a second node may confirm, as confirmed by it."""
    for each in sightings:
        if each.opens or report.type in ENDS:
            yield replace(each, confirmed_by=report.node, left_out=0)


def shown(about: About) -> str:
    """Return what an alert is about in a few words."""
    return ", ".join(f"{name} {str(value)[:_SHOWN]}" for name, value in about if value is not None)
