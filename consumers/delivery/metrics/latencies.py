"""How long deliveries waited for their handler, and how long that took; measured where metrics are on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from router.broker.interface import Arrival
from router.broker.topology import PUBLISHED_AT, RETURN
from router.model.histograms import Histogram

from ...deliveries import is_replay
from ..in_flight import InFlight
from ..states import Ended

_DIGITS = 16
"""Digits of microseconds since 1970, from 2001 to 2286."""


class Latencies:
    """Histograms by subscription, of attempts whose outcome is recorded.  One thread observes, others may read.

    *published_to_begun* is from when the router sent the event until its handler was called, of deliveries that were
    neither retried nor delayed by a gate.  *begun_to_recorded* is from the call until its outcome was recorded.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.published_to_begun: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.begun_to_recorded: defaultdict[str, Histogram] = defaultdict(Histogram)

    def add(self, ended: Mapping[InFlight, Ended], now: datetime) -> None:
        """Add attempts that have *ended*, and whose outcomes are recorded *now*."""
        recorded = now.timestamp()
        for each, state in ended.items():
            name, begun = each.subscription.name, state.started.timestamp()
            self.begun_to_recorded[name].observe(recorded - begun)
            if published := published_at(each.messages.origin):
                self.published_to_begun[name].observe(begun - published)

    def keep(self, names: Iterable[str]) -> None:
        """Forget all subscriptions but *names*."""
        wanted = {*names}
        for histograms in (self.published_to_begun, self.begun_to_recorded):
            for name in histograms.keys() - wanted:
                del histograms[name]


def published_at(arrival: Arrival) -> float | None:
    """Return when the router sent *arrival*, in seconds since 1970.

    None where it did not say, or the message has come back since.
    """
    sent = arrival.headers.get(PUBLISHED_AT)
    if not isinstance(sent, str) or len(sent) != _DIGITS or arrival.exchange == RETURN:
        return None
    return int(sent) / 1_000_000 if sent.isascii() and sent.isdecimal() else None


def oldest(in_flight: Iterable[InFlight]) -> dict[str, float]:
    """Return by subscription when the oldest of *in_flight* was sent or, where that is not known, came here.

    The moments are seconds since 1970.  Retries, replays, and what a gate has delayed are left out: they are old for a
    reason.
    """
    found: dict[str, float] = {}
    for each in in_flight:
        if each.messages.origin.exchange == RETURN or is_replay(each.key.replay):
            continue
        since = published_at(each.messages.origin) or each.messages.since.timestamp()
        name = each.subscription.name
        found[name] = min(since, found.get(name, since))
    return found
