"""What one scrape shows, read by prometheus-client's own parser."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.metrics.exposition import Metric, Scrape
from router.model.histograms import BOUNDS, Histogram

OPEN = Metric("breaker_open", "gauge", "1 for each.", ("target",))
TOOK = Metric("router_took_seconds", "histogram", "How long.")
HOSTILE = [
    'a"b',
    "a\\",
    "a\nclusterbus_ready 1",
    "\udc80",
    "\x00\x1b[31m",
    "é \u202e",
    "x" * 5000,
    'a"} 1\n# TYPE',
    "",
]


def samples(scrape):
    text = scrape.text().decode()
    return [each for family in text_string_to_metric_families(text) for each in family.samples]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_a_label_may_be_any_text_and_adds_no_line(value):
    scrape = Scrape()
    scrape.add(OPEN, 1, value)
    scrape.add(OPEN, 2, "next")

    found = [each for each in samples(scrape) if each.name.startswith("clusterbus")]

    assert [each.value for each in found] == [1, 2]
    label = found[0].labels["target"]
    assert len(label) <= 200
    assert label.isprintable()


def test_a_histogram_has_its_buckets_sum_and_count():
    histogram = Histogram()
    for seconds in (0.0004, 0.02, 7, 1e9):
        histogram.observe(seconds)
    scrape = Scrape()
    scrape.add(TOOK, histogram)

    found = {(each.name, each.labels.get("le")): each.value for each in samples(scrape)}

    assert found["clusterbus_router_took_seconds_bucket", "0.001"] == 1
    assert found["clusterbus_router_took_seconds_bucket", "0.025"] == 2
    assert found["clusterbus_router_took_seconds_bucket", "10.0"] == 3
    assert found["clusterbus_router_took_seconds_bucket", "+Inf"] == 4
    assert found["clusterbus_router_took_seconds_count", None] == 4
    assert found["clusterbus_router_took_seconds_sum", None] == pytest.approx(1e9 + 7.0204)
    assert sum(name.endswith("_bucket") for name, _ in found) == len(BOUNDS) + 1


def test_the_process_is_shown_too():
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= {each.name for each in samples(Scrape())}
