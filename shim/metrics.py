"""The relay's counts, as a text file that the node exporter's textfile collector reads."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PREFIX = "clusterbus_relay"
_COUNTERS = {
    "published": "Records sent to the broker, again or for the first time.",
    "confirmed": "Records that the broker has confirmed.",
    "nacked": "Records that the broker did not take.",
    "returned": "Records that the broker could not route.",
    "refused": "Channels that the broker closed because of what was sent.",
    "given_up": "Records moved to bad because the broker would never take them.",
    "bad": "Files in the spool that were no records.",
    "lost": "Captures that could not be spooled.",
    "unnumbered": "Times that the journal could not be written.",
    "connected": "Connections that were made.",
    "unreachable": "Connections that could not be made: nobody answers.",
    "denied": "Connections that the broker denied: user, password, permission or virtual host.",
    "insecure": "Connections that failed in TLS.",
    "disconnected": "Connections that were lost.",
    "stalled": "Connections dropped because nothing was confirmed within the progress limit.",
}
_GAUGES = {
    "up": "1 while connected and ready to publish.",
    "blocked": "1 while the broker takes nothing because it is short of disk or memory.",
    "spooled_files": "Files waiting in the spool.",
    "unsettled": "Records sent and not yet confirmed.",
    "oldest_age_seconds": "Age of the oldest record in the spool, 0 when there is none.",
    "last_confirm_timestamp_seconds": "Moment of the last confirm, 0 before the first.",
}


class Metrics:
    """Counts that only grow, and gauges.  Names that are not in the tables above are errors."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)
        self.gauges: dict[str, float] = dict.fromkeys(_GAUGES, 0)

    def count(self, name: str, by: int = 1) -> None:
        """Count *name* up."""
        self.counters[name] += by

    def set(self, name: str, value: float) -> None:
        """Have the gauge *name* show *value*."""
        self.gauges[name] = value

    def text(self) -> str:
        """Return all of it in Prometheus' text format."""
        return "".join(self._lines())

    def _lines(self) -> Iterable[str]:
        for name, meaning in _COUNTERS.items():
            yield from _metric(f"{PREFIX}_{name}_total", "counter", meaning, self.counters[name])
        for name, meaning in _GAUGES.items():
            yield from _metric(f"{PREFIX}_{name}", "gauge", meaning, self.gauges[name])
        yield from _metric(f"{PREFIX}_written_timestamp_seconds", "gauge", "Moment of this writing.", time.time())

    def write(self, path: Path) -> None:
        """Write all of it to *path*, so that a reader sees the old or the new; raises OSError."""
        aside = path.with_name(f".{path.name}.new")
        file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
            stream.write(self.text())
        aside.replace(path)


def _metric(name: str, kind: str, meaning: str, value: float) -> Iterable[str]:
    yield f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n{name} {value:.15g}\n"
