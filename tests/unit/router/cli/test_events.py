"""What `clusterbus emit` refuses, and what it says about what it published."""

import re
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from router.broker.interface import Settlement
from router.cli import events
from router.errors import Unreachable


@pytest.mark.parametrize(
    "words", [("softQuotaExceded",), ("slurm", "jobDone"), ("mount", "fsNam=gpfs1"), ("gpfs", "fsName=gpfs1")]
)
def test_emit_publishes_no_nonsense_and_names_the_option_for_what_is_meant(words):
    done = CliRunner().invoke(app, ["emit", *words])

    assert done.exit_code == 2
    assert "add --unknown" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mount", "--node", "n" * 101), f"--node {'n' * 40}... has 101 characters; at most 100 are allowed"),
        (("mount", "--cluster", "c" * 101), f"--cluster {'c' * 40}... has 101 characters; at most 100 are allowed"),
        (
            ("--unknown", f"slurm.{'e' * 101}"),
            f"event {'e' * 40}... has 101 characters; at most 100 are allowed",
        ),
        (
            ("--unknown", f"slurm.{'e' * 100}", "--node", "n" * 100, "--cluster", "c" * 50),
            "source, --cluster, event, --node have 258 characters together; at most 255 are allowed",
        ),
    ],
)
def test_emit_refuses_names_that_are_too_long_for_a_key_and_says_which(words, said):
    done = CliRunner().invoke(app, ["emit", *words])

    assert done.exit_code == 2
    assert said in done.output


def test_emit_that_reaches_no_broker_says_how_to_repeat_this_very_event():
    environment = {"CLUSTERBUS_BROKER": "amqp://bus-svc-jobs:x@127.0.0.1:1/", "CLUSTERBUS_BROKER_PATIENCE": "200ms"}

    done = CliRunner().invoke(app, ["emit", "--unknown", "slurm.jobFailed", "jobId=1"], env=environment)

    assert isinstance(done.exception, Unreachable), "for which the exit code is 3"
    assert re.search(r"add --id [0-9A-Z]{26}$", str(done.exception))


def test_emit_names_the_values_that_do_not_fit_their_types(monkeypatch):
    session = SimpleNamespace(publish=lambda messages: [Settlement.CONFIRMED for _ in messages])
    monkeypatch.setattr(events, "open_session", lambda *_: nullcontext(session))

    fitting, odd = (
        CliRunner().invoke(app, ["emit", "softQuotaExceeded", each]) for each in ("blockUsage=1", "blockUsage=x")
    )

    assert (fitting.exit_code, odd.exit_code) == (0, 0)
    assert fitting.stderr == ""
    assert odd.stderr == "these values do not fit their types and stay text: blockUsage\n"
