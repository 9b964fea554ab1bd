"""docker/compose.yaml, run for real: everything becomes healthy, events arrive, and nobody is more than needed."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from router.local_broker.rabbitmq_container import engine_answers, image_at_hand
from tests.shared import used_alone
from tests.waiting import SLACK, wait_for

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker" / "compose.yaml"
PROGRAMS = {"router", "consumers", "nsd01", "cl01", "cl02"}
SERVICES = {"broker", "cluster", *PROGRAMS}


class Composed:
    """The services of the file, under a name of this test's own."""

    def __init__(self) -> None:
        self.name = f"clusterbus-test-{uuid4().hex[:8]}"
        # The builds of a test reach what the machine reaches.
        self._environment = {**os.environ, "CLUSTERBUS_BUILD_NETWORK": "host", "CLUSTERBUS_PAUSE": "5"}

    def run(self, *words: str, code: int | None = 0, limit: float = 60) -> str:
        done = subprocess.run(
            ["docker", "compose", "--project-name", self.name, "--file", str(FILE), *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=limit * SLACK,
            check=False,
        )
        assert code in (None, done.returncode), f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def states(self) -> dict[str, str]:
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        return {each["Service"]: each["Health"] or each["State"] for each in map(json.loads, lines)}

    def is_healthy(self) -> bool:
        states = self.states()
        return all(states.get(each) == "healthy" for each in SERVICES)

    def events(self) -> list[dict[str, str]]:
        said = self.run("exec", "-T", "consumers", "clusterbus", "deliveries", "--json")
        return [json.loads(line) for line in said.splitlines()]


@pytest.fixture(scope="module")
def composed(shared: Path) -> Iterator[Composed]:
    # No engine is no failure, on CI neither: all that is in the containers is tested outside them too.
    if not engine_answers():
        pytest.skip("no Docker engine of this machine answers")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("docker has no compose here")
    for image in ("rabbitmq:4-management", "python:3.13-slim"):
        if not image_at_hand(image):
            pytest.skip(f"the image {image} is not here, and cannot be pulled")
    composed = Composed()
    # Workers may share the tests of this file; the services of several of them at once are too much for the machine.
    with used_alone(shared, "compose"):
        try:
            composed.run("up", "--detach", "--build", limit=600)
            try:
                wait_for(composed.is_healthy, 180, "everything is healthy")
            except AssertionError as error:
                logs = composed.run("logs", "--tail", "20", code=None)
                raise AssertionError(f"{error}: {composed.states()}\n{logs[-6000:]}") from None
            yield composed
        finally:
            composed.run("down", "--volumes", "--timeout", "5", code=None, limit=120)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_events_of_all_three_nodes_arrive_and_copies_are_one(composed: Composed):
    wanted = {"gpfs.softQuotaExceeded", "gpfs.nodeLeave", "gpfs.diskFailure"}
    # As the page says.
    simulator = ["exec", "-T", "cluster", "python3", "-P", "-m", "router.simulator"]
    composed.run(*simulator, "raise", "diskFailure", "fsName=gpfs1")
    wait_for(lambda: wanted <= {each["event"] for each in composed.events()}, 90, "the events")
    states = composed.states()
    assert (states["users"], states["setup"]) == ("exited", "exited")
    said = composed.run("exec", "-T", "router", "clusterbus", "doctor", "--part", "router", "--json")
    (seen,) = [line for each in said.splitlines() if "were copies" in (line := json.loads(each).get("seen", ""))]
    records, made, copies = map(int, re.findall(r"\d+", seen))
    assert records == made + copies
    assert copies > 0


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("service", sorted(PROGRAMS))
def test_a_program_is_no_root_and_sees_no_secret_but_its_own(composed: Composed, service: str):
    assert composed.run("exec", "-T", service, "id", "-u").strip() == "64640"
    assert composed.run("exec", "-T", service, "find", "/secrets", "-type", "f").split() == ["/secrets/password"]
    assert composed.run("exec", "-T", service, "stat", "-c", "%a", "/secrets/password").strip() == "600"
    composed.run("exec", "-T", service, "touch", "/secrets/mine", code=1)
    composed.run("exec", "-T", service, "touch", "/opt/clusterbus/mine", code=1)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("http://router:9464/metrics", 'clusterbus_router_records_total{outcome="event"}'),
        ("http://router:9464/readyz", "ok queues"),
        ("http://consumers:9465/metrics", 'clusterbus_consumer_deliveries_total{outcome="done",subscription="audit"}'),
        ("http://consumers:9465/readyz", "ok queues"),
        ("http://broker:15692/metrics", "rabbitmq_alarms_free_disk_space_watermark"),
    ],
)
def test_prometheus_finds_its_targets(composed: Composed, url: str, part: str):
    # The addresses are those of docker/prometheus/prometheus.yaml.
    jobs = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    assert url.split("/")[2] in {target for job in jobs for each in job["static_configs"] for target in each["targets"]}

    code = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=20).read().decode())"

    assert part in composed.run("exec", "-T", "consumers", "python3", "-c", code)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_there_is_no_guest_and_no_administrator(composed: Composed):
    said = composed.run("exec", "-T", "broker", "rabbitmqctl", "--quiet", "list_users", "--formatter", "json")

    users = {each["user"]: each["tags"] for each in json.loads(said)}

    assert set(users) == {
        "nsd01",
        "cl01",
        "cl02",
        *(f"clusterbus-{each}" for each in ("router", "consumer", "operator")),
    }
    assert not any(users.values())


@pytest.mark.long
@pytest.mark.timeout(900)
def test_health_says_when_nobody_reads_records_and_users_made_again_are_the_same(composed: Composed):
    probe = ["exec", "-T", "consumers", "clusterbus", "doctor", "--part", "router"]
    composed.run("stop", "--timeout", "20", "router")
    said = composed.run(*probe, code=1)
    assert "no router reads clusterbus.ingress" in said

    sums = ["exec", "-T", "broker", "sh", "-c", "sha256sum /definitions/*.json"]
    before = composed.run(*sums)
    composed.run("start", "router")
    composed.run("run", "--rm", "--no-deps", "users")
    assert composed.run(*sums) == before
    wait_for(composed.is_healthy, 120, "everything is healthy again")


def test_each_program_is_asked_for_its_health_in_a_cheap_way():
    from consumers.inspection.doctor.check_results import PARTS  # noqa: PLC0415 - the others need no consumers here

    services = yaml.safe_load(FILE.read_text())["services"]
    asked = {name: each["healthcheck"]["test"] for name, each in services.items() if name in PROGRAMS}

    # A second of CPU for each check of each program would be half of a small machine.
    for name, setting in (("router", "CLUSTERBUS_ROUTER_METRICS"), ("consumers", "CLUSTERBUS_CONSUMERS_METRICS")):
        port = services[name]["environment"][setting].rpartition(":")[2]
        assert asked.pop(name)[1] == "python3"
        assert f"'http://127.0.0.1:{port}/readyz'" in services[name]["healthcheck"]["test"][-1]
    for name, words in asked.items():
        assert words[:3] == ["CMD", "clusterbus", "doctor"]
        assert set(words[4::2]) == {"spool", "relay"} < PARTS
        assert services[name]["healthcheck"]["interval"] == "30s"


def test_the_file_is_one_that_compose_takes():
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    done = subprocess.run(
        ["docker", "compose", "--file", str(FILE), "config", "--quiet"], capture_output=True, text=True, check=False
    )
    if "is not a docker command" in done.stderr or "unknown" in done.stderr:
        pytest.skip("docker has no compose here")
    assert done.returncode == 0, done.stderr


def test_its_subscriptions_are_valid(tmp_path: Path):
    words = [sys.executable, "-m", "consumers.cli.main", "check", str(ROOT / "docker" / "config" / "simulated.yaml")]

    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
