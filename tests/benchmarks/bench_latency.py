"""From the end of capture to the beginning of the handler, on an idle system, over the whole way."""

import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.table import Row
from tests.flow import Flow

_EVENTS = 60
_SETTLE = 0.05


def run(url: str) -> list[Row]:
    """Return how long an event is on its way, in milliseconds, median and 95th percentile, over *url*."""
    with tempfile.TemporaryDirectory() as folder, Flow(Path(folder), url) as flow:
        flow.captured("nsd01", "startup")
        flow.wait_audited(1)
        left: dict[str, datetime] = {}
        for number in range(_EVENTS):
            flow.captured("nsd01", "mount", "--fsName", f"fs{number}")
            left[f"fs{number}"] = datetime.now(UTC)
            time.sleep(_SETTLE)
        flow.wait_audited(1 + _EVENTS)
        started = {row.topic.split(".")[4]: row.started for row in flow.delivered("audit")}
    waited = [(started[subject] - moment).total_seconds() * 1000 for subject, moment in left.items()]
    return [
        Row("capture's end to handler, median", statistics.median(waited), None, None, "≤ 20 ms", "ms"),
        Row("capture's end to handler, 95th percentile", statistics.quantiles(waited, n=20)[-1], None, None, "", "ms"),
    ]
