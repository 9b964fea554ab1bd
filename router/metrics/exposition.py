"""Metrics as data, what one scrape finds of them, and Prometheus' text of that, which prometheus-client writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from ..model.histograms import Histogram
from ..terminal_text import visible

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_LONGEST = 200
"""Characters of a label."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: *name* without our prefix, *kind*, a sentence of *help*, and the names of its *labels*."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as Prometheus shows it.

        >>> Metric("broker_nacks", "counter", "Refused.").full_name
        'clusterbus_broker_nacks_total'
        """
        return f"clusterbus_{self.name}{'_total' if self.kind == 'counter' else ''}"


class Scrape:
    """The values of one scrape."""

    def __init__(self) -> None:
        """Begin without values."""
        self._families: dict[Metric, Family] = {}

    def add(self, metric: Metric, value: float | Histogram, *labels: str) -> None:
        """Add a value of *metric*; *labels* are in the order of its names, and may hold any text."""
        family = self._families.get(metric) or self._families.setdefault(metric, _family(metric))
        shown = [visible(each)[:_LONGEST] for each in labels]
        if isinstance(value, Histogram):
            family.add_metric(shown, buckets=value.buckets(), sum_value=value.total)  # type: ignore[attr-defined]
        else:
            family.add_metric(shown, value)  # type: ignore[attr-defined]  # each family has it, their base has not

    def text(self) -> bytes:
        """Return all values in Prometheus' text format, with those of the process."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Made(self._families.values()))
        return generate_latest(registry)


Values = Callable[[Scrape], None]
"""What was found: adds its values to a scrape."""


class _Made(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        """Return the families, in the order in which they were begun."""
        return iter(self._families)

    def describe(self) -> Iterator[Family]:
        """Return no names: each registry is for one scrape."""
        return iter(())


def _family(metric: Metric) -> Family:
    name = f"clusterbus_{metric.name}"
    match metric.kind:
        case "counter":
            return CounterMetricFamily(name, metric.help, labels=metric.labels)
        case "gauge":
            return GaugeMetricFamily(name, metric.help, labels=metric.labels)
        case "histogram":
            return HistogramMetricFamily(name, metric.help, labels=metric.labels)
