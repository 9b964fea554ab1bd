"""The demo, as somebody new runs it: it ends with its books balanced, on a broker of its own and on a given one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rabbit import SharedBroker
from tests.waiting import SLACK


def demo(environment: dict[str, str]) -> dict[str, int]:
    """Play the demo to its end; return the books."""
    done = subprocess.run(
        [sys.executable, "-m", "consumers.cli.main", "--log-level", "WARNING", "demo", "--speed", "4", "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60 * SLACK,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(books: dict[str, int]) -> None:
    assert books["lost"] == 0
    assert books["captured"] == books["copies"] + books["events"]
    assert books["copies"] == 11 + 10 + 11, "twelve nodes report each join, and eleven are left to report a leave"
    assert books["events"] == books["audited"]
    assert books["owed"] == books["delivered"] + books["dead"]
    assert books["retried"] >= 5
    assert books["dead"] == 1


@pytest.mark.timeout(200)
def test_the_demo_loses_nothing_though_its_broker_is_restarted(broker: SharedBroker) -> None:
    kind = {} if broker.kind == "given" else {"CLUSTERBUS_BROKER_KIND": broker.kind}
    check(demo(kind))


@pytest.mark.timeout(200)
def test_the_demo_plays_on_a_broker_that_is_given(vhost_url: str) -> None:
    check(demo({"CLUSTERBUS_BROKER": vhost_url}))


def test_a_demo_on_a_broker_that_does_not_answer_says_so_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "consumers.cli.main", "--log-level", "ERROR", "demo", "--folder", str(tmp_path)],
        env={**os.environ, "CLUSTERBUS_BROKER": "amqp://guest:guest@127.0.0.1:1/"},
        capture_output=True,
        text=True,
        timeout=60 * SLACK,
        check=False,
    )

    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "127.0.0.1:1" in line
    assert list(tmp_path.iterdir()) == []
