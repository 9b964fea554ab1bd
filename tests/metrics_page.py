"""The tables of docker/METRICS.md, as the code has them.  `python -m tests.metrics_page` writes them into the page."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from consumers.programs import consumer_metrics
from router.metrics import monitoring, router_metrics
from router.metrics.exposition import Metric, Scrape
from shim.metrics import Metrics

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docker" / "METRICS.md"
PROGRAMS: Mapping[str, tuple[Metric, ...]] = {
    "both": monitoring.METRICS,
    "router": router_metrics.METRICS,
    "consumers": consumer_metrics.METRICS,
}


def tables() -> dict[str, str]:
    """Return the table of each part, in Markdown."""
    return {name: _table(map(_row, metrics)) for name, metrics in PROGRAMS.items()} | {"relay": _table(_of_relay())}


def names() -> set[str]:
    """Return the names of all time series that the programs export, with those of processes."""
    found = {each.full_name for metrics in PROGRAMS.values() for each in metrics if each.kind != "histogram"}
    for each in (each for metrics in PROGRAMS.values() for each in metrics if each.kind == "histogram"):
        found |= {f"{each.full_name}{end}" for end in ("_bucket", "_count", "_sum")}
    relay = {sample.name for family in _families(Metrics().text()) for sample in family.samples}
    process = {sample.name for family in _families(Scrape().text().decode()) for sample in family.samples}
    return found | relay | process


def parts(page: str) -> dict[str, str]:
    """Return the tables that *page* has."""
    return dict(re.findall(r"<!-- (\w+) -->\n\n((?:\|.*\n)+)", page))


def _families(text: str):
    return text_string_to_metric_families(text)


def _row(metric: Metric) -> tuple[str, str, str, str]:
    labels = ", ".join(f"`{each}`" for each in metric.labels)
    return metric.full_name, metric.kind, labels, metric.help


def _of_relay() -> Iterable[tuple[str, str, str, str]]:
    for family in _families(Metrics().text()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield name, family.type, "", family.documentation


def _table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    lines = [f"| `{name}` | {kind} | {labels} | {meaning} |" for name, kind, labels, meaning in rows]
    return "\n".join(["| name | kind | labels | meaning |", "|---|---|---|---|", *lines, ""])


def main() -> None:
    """Write the tables into the page."""
    page = PAGE.read_text()
    for name, table in tables().items():
        page = re.sub(rf"(<!-- {name} -->\n)(?:\n(?:\|.*\n)+)?", lambda found, new=table: f"{found[1]}\n{new}", page)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
