"""Benchmarks on one broker, printed as ratios: `make bench`, or `python -m tests.benchmarks capture relay`."""

import importlib
import os
import sys
import urllib.parse

from rich.console import Console

from router.local_broker import choose
from router.local_broker.choose import GivenBroker
from router.local_broker.private_broker import PrivateBroker
from tests.benchmarks.table import Row, print_table

PARTS = ("capture", "relay", "router", "delivery", "client", "latency", "commands", "metrics")


def main() -> None:
    """Run the parts that are named, or all."""
    wanted = sys.argv[1:] or list(PARTS)
    for each in wanted:
        if each not in PARTS:
            sys.exit(f"there is no benchmark {each!r}; there are {', '.join(PARTS)}")
    console = Console()
    broker = choose.find(os.environ.get("CLUSTERBUS_BROKER"))
    with broker:
        rows: list[Row] = []
        for each in wanted:
            console.print(f"{each} ...", style="dim")
            module = importlib.import_module(f"tests.benchmarks.bench_{each}")
            url = _place(broker, each)
            os.environ["CLUSTERBUS_BENCH_BROKER"] = url
            rows += module.run() if each == "capture" else module.run(url)
    kind = broker.description if isinstance(broker, PrivateBroker) else "given broker"
    print_table(rows, title=f"on {kind}, {os.cpu_count()} cores")


def _place(broker: PrivateBroker | GivenBroker, part: str) -> str:
    """Return where *part* is measured: a virtual host of its own, where the broker is ours to make one in."""
    if not isinstance(broker, PrivateBroker):
        return broker.url
    broker.ctl("add_vhost", part)
    user = urllib.parse.urlsplit(broker.url).username or ""
    broker.ctl("set_permissions", "-p", part, user, ".*", ".*", ".*")
    return urllib.parse.urlsplit(broker.url)._replace(path=f"/{part}").geturl()


if __name__ == "__main__":
    main()
