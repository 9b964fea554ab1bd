"""Reads the metrics and the health of programs as Prometheus and others do."""

import http.client
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from router.local_broker.ports import free_ports
from tests.processes import bound
from tests.waiting import SLACK, wait_for

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def addresses() -> dict[str, str]:
    """Return settings that turn metrics on at free ports, for router and consumer."""
    router, consumers = free_ports(2)
    return {
        "CLUSTERBUS_ROUTER_METRICS": f"127.0.0.1:{router}",
        "CLUSTERBUS_CONSUMERS_METRICS": f"127.0.0.1:{consumers}",
    }


def get(address: str, path: str) -> tuple[int, str]:
    """Return status and body of *path* at *address*; 0 and why where nothing answers."""
    connection = http.client.HTTPConnection(address, timeout=30 * SLACK)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


class Scraped:
    """What one scrape brought."""

    def __init__(self, text: str) -> None:
        self.names: set[str] = set()
        self._series: Series = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.names.add(sample.name)
                self._series[sample.name, frozenset(sample.labels.items())] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the series *name*, without our prefix, that has just these *labels*."""
        return self._series[f"clusterbus_{name}", frozenset(labels.items())]

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Return by *label* the values of the series *name* that have *labels*, without those that are 0."""
        found: dict[str, float] = {}
        for (each, theirs), value in self._series.items():
            facts = dict(theirs)
            if each == f"clusterbus_{name}" and labels.items() <= facts.items() and value:
                found[facts[label]] = found.get(facts[label], 0) + value
        return found


def scrape(address: str) -> Scraped:
    """Return what is at *address* now."""
    status, text = get(address, "/metrics")
    assert status == 200, text
    return Scraped(text)


@contextmanager
def prometheus(binary: str, folder: Path, rules: Path, targets: Mapping[str, str]) -> Iterator[str]:
    """Run a Prometheus that scrapes *targets*, by job, and evaluates *rules*, each second; gives its address."""
    (port,) = free_ports(1)
    jobs = [{"job_name": job, "static_configs": [{"targets": [each]}]} for job, each in targets.items()]
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    file = folder / "prometheus.yaml"
    # JSON is YAML too.
    file.write_text(json.dumps({"global": every, "rule_files": [str(rules)], "scrape_configs": jobs}))
    address = f"127.0.0.1:{port}"
    words = [
        binary,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(bound(words), stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(lambda: get(address, "/-/ready")[0] == 200, 30, "Prometheus answers")
        yield address
    finally:
        server.terminate()
        server.wait(60)


def api(address: str, path: str) -> Any:
    """Return what the API of the Prometheus at *address* says at *path*."""
    status, text = get(address, f"/api/v1/{path}")
    assert status == 200, text
    return json.loads(text)["data"]


def reached(address: str, path: str, status: int, timeout: float = 30) -> str:
    """Return the body of *path* at *address* once its status is *status*."""

    def look() -> str:
        found, body = get(address, path)
        return body if found == status else ""

    return wait_for(look, timeout, f"{path} says {status}; now it says {get(address, path)} at {time.strftime('%X')}")
