"""What the router measures of its own work where its metrics are on: outcomes of records, findings, latencies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from ...broker.topology import PUBLISHED_AT
from ...model.histograms import Histogram
from ..decisions import Decisions
from ..gap_detection import Place
from ..reports.finding_events import NAMES
from ..reports.finding_reports import Found

OUTCOMES = ("event", "copy", "repeated", "heartbeat", "rejected")
"""What may become of a record.  One is repeated that was decided on before, and was brought again."""


class Measures:
    """Numbers that only grow.  The router's thread counts, others may read.

    *captured_to_received* is from the capture of a record, by its node's clock, until the router takes it, in its turn.
    *received_to_published* is from then until the broker has confirmed the event.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin at zero; *monotonic* is a clock in seconds."""
        self._monotonic = monotonic
        self.records = dict.fromkeys(OUTCOMES, 0)
        self.findings = dict.fromkeys(NAMES.values(), 0)
        self.dismissed = 0
        """Rejected records that are not kept."""
        self.captured_to_received = Histogram()
        self.received_to_published = Histogram()
        self.stamp: Mapping[str, str] = {}
        """The header of the events of the batch, by which consumers see when they were published."""

    def decided(self, decisions: Decisions, received: datetime) -> float:
        """Count a batch that the router took at the moment *received*, and whose *decisions* are written.

        Return what `published` is to be called with for the events of this batch.
        """
        new = decisions.changes.fates
        copies = sum([each.is_copy for each in new])
        others = len(decisions.publish) + len(decisions.ack) - len(new) - decisions.heartbeats
        counts = (len(new) - copies, copies, others, decisions.heartbeats, len(decisions.reject))
        for outcome, count in zip(OUTCOMES, counts, strict=True):
            self.records[outcome] += count
        self.found(decisions.findings)
        self.dismissed += sum(decisions.changes.dismissed.values())
        for event, _ in decisions.publish:
            self.captured_to_received.observe((received - event.moment).total_seconds())
        self.captured_to_received.negative += decisions.ahead
        self.stamp = {PUBLISHED_AT: str(time.time_ns() // 1000)}
        return self._monotonic()

    def found(self, findings: Iterable[tuple[Place, Found]]) -> None:
        """Count *findings*, by the names of their events."""
        for _, finding in findings:
            self.findings[NAMES[type(finding)]] += 1

    def published(self, received: float) -> None:
        """Count an event that the broker has confirmed; *received* is what `decided` returned."""
        self.received_to_published.observe(self._monotonic() - received)
