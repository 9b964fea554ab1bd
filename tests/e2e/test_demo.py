"""The demo, as somebody new runs it: it ends with its books balanced, on a broker of its own and on a given one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.rabbit import SharedBroker
from tests.waiting import SLACK


def demo(environment: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Play the demo to its end; return the books, and the lines that it shows."""
    done = subprocess.run(
        [sys.executable, "-m", "consumers.cli.main", "--log-level", "WARNING", "demo", "--speed", "4", "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=90 * SLACK,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr.splitlines()


def check(books: dict[str, Any], lines: list[str]) -> None:
    check_counts(books)
    check_alerts(books["alerts"])
    check_lines(lines)


def check_counts(books: dict[str, Any]) -> None:
    assert books["lost"] == 0
    assert books["captured"] == books["copies"] + books["events"]
    assert books["copies"] == 11 + 10 + 11, "twelve nodes report each join, and eleven are left to report a leave"
    assert books["events"] == books["audited"]
    assert books["owed"] == books["delivered"] + books["dead"]
    assert books["retried"] >= 5
    assert books["dead"] == 1
    assert books["changes"] == books["changes_audited"]


def check_alerts(alerts: list[dict[str, Any]]) -> None:
    """Check which alerts opened, how they ended, and who knows of them."""
    assert sorted((each["rule"], each["about"], each["state"], each["knows"]) for each in alerts) == [
        ("delivery-failed", "free-space", "open", "page-on-call"),
        ("disk-down", "gpfs1/nsd3", "closed", "anna, page-on-call"),
        ("node-down", "cl04", "closed", "page-on-call"),
        ("overload", "cl04", "closed", "nobody, suppressed by node-down"),
        ("soft-quota", "gpfs1/projects", "closed", "nobody"),
        ("soft-quota", "gpfs1/scratch", "closed", "nobody"),
        ("space", "gpfs1/data", "open", "nobody"),
        ("space", "gpfs1/system", "open", "page-on-call"),
    ]


def check_lines(lines: list[str]) -> None:
    """Check that the changes of alerts are shown, and what is still open at the end."""
    shown = [line.split(maxsplit=1)[1] for line in lines if re.match(r"\d\d:\d\d:\d\d  alert ", line)]
    expected = (
        r"alert opened +gpfs1/projects +soft-quota +warning ",
        r"alert closed +gpfs1/projects +soft-quota +after .+",
        r"alert opened +gpfs1/nsd3 +disk-down +error .*page-on-call ✓",
        r"alert acknowledged +gpfs1/nsd3 +disk-down +by anna: new cable ",
        r"alert closed +gpfs1/nsd3 +disk-down +after .+ \(facts\) .*page-on-call ✓",
        r"alert opened +cl04 +node-down +error .*page-on-call ✓",
        r"alert suppressed +cl04 +overload +by node-down ",
        r"alert closed +cl04 +overload +after .+ \(quiet\) ",
    )
    assert [each for each in expected if not any(re.match(each, line) for line in shown)] == []
    table = lines[next(at for at, line in enumerate(lines) if line.startswith("  alert  ")) :]
    assert [line.split()[:4] for line in table if " open " in line] == [
        ["space", "gpfs1/data", "warning", "open"],
        ["space", "gpfs1/system", "critical", "open"],
        ["delivery-failed", "free-space", "error", "open"],
    ]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_demo_loses_nothing_though_its_broker_is_restarted(broker: SharedBroker) -> None:
    kind = {} if broker.kind == "given" else {"CLUSTERBUS_BROKER_KIND": broker.kind}
    check(*demo(kind))


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_demo_plays_on_a_broker_that_is_given(vhost_url: str) -> None:
    check(*demo({"CLUSTERBUS_BROKER": vhost_url}))


@pytest.mark.long
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
