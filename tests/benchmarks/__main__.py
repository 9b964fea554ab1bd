"""Benchmarks on one broker, printed as ratios: `make bench`, or `python -m tests.benchmarks capture relay`."""

import importlib
import os
import sys

from rich.console import Console

from router.broker.private import PrivateBroker, finding
from tests.benchmarks.table import Row, print_table

PARTS = ("capture", "relay", "router", "delivery", "latency")


def main() -> None:
    """Run the parts that are named, or all."""
    wanted = sys.argv[1:] or list(PARTS)
    for each in wanted:
        if each not in PARTS:
            sys.exit(f"there is no benchmark {each!r}; there are {', '.join(PARTS)}")
    console = Console()
    broker = finding.find(os.environ.get("CLUSTERBUS_BROKER"))
    with broker:
        os.environ["CLUSTERBUS_BENCH_BROKER"] = broker.url
        rows: list[Row] = []
        for each in wanted:
            console.print(f"{each} ...", style="dim")
            module = importlib.import_module(f"tests.benchmarks.bench_{each}")
            rows += module.run() if each == "capture" else module.run(broker.url)
    kind = broker.description if isinstance(broker, PrivateBroker) else "given broker"
    print_table(rows, title=f"on {kind}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
