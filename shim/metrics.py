"""The relay's metrics, as a text file for the node exporter's textfile collector."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "clusterbus_relay"
_COUNTERS = {
    "published": "Records sent to the broker, including those sent again.",
    "confirmed": "Records that the broker confirmed.",
    "nacked": "Records that the broker did not accept.",
    "returned": "Records that the broker could not route.",
    "refused": "Channels that the broker closed because it refused a record.",
    "given_up": "Records moved to bad/ because the broker kept refusing them.",
    "bad": "Files in the spool that are not valid records.",
    "lost": "Captures that could not be spooled.",
    "unnumbered": "Failed attempts to write the journal.",
    "connected": "Connections opened.",
    "unreachable": "Connections that could not be opened: no answer.",
    "denied": "Connections that the broker denied: user, password, permission or virtual host.",
    "insecure": "Connections that failed in TLS.",
    "disconnected": "Connections lost.",
    "stalled": "Connections dropped because the broker confirmed nothing within the progress limit.",
}
_GAUGES = {
    "up": "1 while the relay is connected and ready to publish.",
    "blocked": "1 while the broker accepts nothing because it is short of disk or memory.",
    "spooled_files": "Files waiting in the spool.",
    "unsettled": "Records sent and not yet confirmed.",
    "oldest_age_seconds": "Age of the oldest record in the spool; 0 if the spool is empty.",
    "last_confirm_timestamp_seconds": "Time of the last confirm; 0 before the first.",
}
_LATENCY = "captured_to_confirmed_seconds"
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)


class Metrics:
    """Counters, which only grow, and gauges, named in the tables above; and how long captured records took."""

    def __init__(self) -> None:
        """Start at zero."""
        self.counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)
        self.gauges: dict[str, float] = dict.fromkeys(_GAUGES, 0)
        self._latencies = [0] * (len(_BOUNDS) + 1)
        self._latency = 0.0

    def count(self, name: str, by: int = 1) -> None:
        """Increase the counter *name*."""
        self.counters[name] += by

    def set(self, name: str, value: float) -> None:
        """Set the gauge *name* to *value*."""
        self.gauges[name] = value

    def observe(self, seconds: float) -> None:
        """Count a record that the broker confirmed *seconds* after its capture; below 0, if the clock was set, as 0."""
        seconds = max(0.0, seconds)
        self._latencies[bisect_left(_BOUNDS, seconds)] += 1
        self._latency += seconds

    def text(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return "".join(
            (
                *(_metric(f"{each}_total", "counter", _COUNTERS[each], value) for each, value in self.counters.items()),
                *(_metric(each, "gauge", _GAUGES[each], value) for each, value in self.gauges.items()),
                *self._histogram(),
                _metric("written_timestamp_seconds", "gauge", "Time of writing this file.", time.time()),
            )
        )

    def _histogram(self) -> Iterator[str]:
        name = f"{PREFIX}_{_LATENCY}"
        yield f"# HELP {name} From the capture of a record until the broker confirmed it.\n# TYPE {name} histogram\n"
        reached = 0
        for bound, count in zip((*(str(float(each)) for each in _BOUNDS), "+Inf"), self._latencies):
            reached += count
            yield f'{name}_bucket{{le="{bound}"}} {reached}\n'
        yield f"{name}_sum {self._latency:.15g}\n{name}_count {reached}\n"

    def write(self, path: Path) -> None:
        """Write all metrics to *path*; a reader sees the old or the new file, never a part.  Raises OSError."""
        new = path.with_name(f".{path.name}.new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
            stream.write(self.text())
        new.replace(path)


def _metric(name: str, kind: str, meaning: str, value: float) -> str:
    return "# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3:.15g}\n".format(f"{PREFIX}_{name}", meaning, kind, value)
