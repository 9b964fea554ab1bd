"""The command `clusterbus nodes gaps`: what is missing, and what a person accepts."""

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.inspection.doctor import databases
from router.pipeline.gap_detection import GAPS, NodeState, observe, overdue
from router.pipeline.state import Changes, State
from tests.nodes import NOON

EPOCH = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"


@pytest.fixture
def run(tmp_path):
    """A function that runs the command with *words*, where n1 has lost the records 2 to 4, and n2 none."""
    url = f"sqlite:///{tmp_path}/router.db"
    with State(url) as state, state.transaction() as transaction:
        nodes = {("prod", "n1"): _after(1, 5), ("prod", "n2"): _after(1, 2)}
        transaction.write(Changes(nodes=nodes), NOON)
    return lambda *words: CliRunner().invoke(app, ["nodes", "gaps", *words], env={"CLUSTERBUS_ROUTER_STATE": url})


def _after(*numbers: int) -> NodeState:
    state = None
    for number in numbers:
        state, _ = observe(state, EPOCH, number, NOON)
    return overdue(state, NOON + timedelta(hours=1), timedelta(minutes=1))[0]


def test_missing_records_are_listed(run):
    done = run("--json")

    assert done.exit_code == 0
    (found,) = map(json.loads, done.stdout.splitlines())
    about = {"cluster": "prod", "node": "n1", "first": 2, "last": 4, "count": 3}
    assert found == about | {"since": "2026-11-20T12:00:00.000000000Z", "epoch": EPOCH, "may_forget": False}
    assert run("n2").stderr == "no records are missing\n"


def test_accepted_records_are_missing_no_more(run):
    done = run("n[1-2]", "--accept", "--comment", "disk replaced")

    assert done.exit_code == 0
    assert done.stderr == "accepted: 3 records will not arrive\n"
    assert "n1" in done.stdout
    assert run().stderr == "no records are missing\n"


@pytest.mark.parametrize("words", [("--accept",), ("n1", "--accept"), ("n1", "--accept", "--comment", " ")])
def test_what_is_accepted_is_named_and_has_a_reason(run, words):
    assert run(*words).exit_code == 2
    assert "n1" in run().stdout


def test_a_node_with_too_many_gaps_is_said_to_miss_more(run, tmp_path):
    with State(f"sqlite:///{tmp_path}/router.db") as state, state.transaction() as transaction:
        transaction.write(Changes(nodes={("prod", "n3"): _after(*range(1, 4 * GAPS, 2))}), NOON)

    assert run("n1").stderr == ""
    assert run().stderr == "n3: too many gaps to remember all of them, more records may be missing\n"
    (finding,) = (each for each in databases.state(f"sqlite:///{tmp_path}/router.db") if each.verdict == "error")
    assert finding.seen == f"at least {GAPS + 3} records are missing from the sequences of their nodes"
