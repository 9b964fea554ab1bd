"""Histograms of latencies, cheap enough for the way of every event.  No clock."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
"""The upper bounds of the buckets, in seconds: from 1 ms to 4 h.  Above them is one more bucket."""


class Histogram:
    """How many latencies were at most each of the bounds, and their sum.  One thread observes, others may read.

    >>> histogram = Histogram()
    >>> for seconds in (0.0005, 0.3, 0.4, -2):
    ...     histogram.observe(seconds)
    >>> histogram.buckets()[:2], histogram.buckets()[-1], round(histogram.total, 4), histogram.negative
    ([('0.001', 2), ('0.0025', 2)], ('+Inf', 4), 0.7005, 1)
    """

    __slots__ = ("_counts", "negative", "total")

    def __init__(self) -> None:
        """Begin without any."""
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.negative = 0
        """How many were negative, because two clocks differ; they count as 0."""

    def observe(self, seconds: float) -> None:
        """Count one latency."""
        if seconds < 0:
            self.negative += 1
            seconds = 0.0
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, int]]:
        """Return the text of each bound, with the number of latencies that are not above it."""
        sums, reached = [], 0
        for bound, count in zip((*map(_text, BOUNDS), "+Inf"), self._counts.copy(), strict=True):
            reached += count
            sums.append((bound, reached))
        return sums


def _text(bound: float) -> str:
    # Prometheus compares the texts, and writes floats so.
    return str(float(bound))
