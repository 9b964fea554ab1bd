"""Steps in subscription files: what check, route, tests in files and the mode shadow say about them."""

import json
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.deliveries import Skipped
from consumers.delivery.threads.workers import call
from consumers.subscriptions.fact_use import reads_facts
from consumers.subscriptions.models import Subscriptions
from consumers.verbs.interface import Surroundings
from consumers.verbs.run.verb import RunVerb
from router.settings.models import Settings
from tests.consuming import make_delivery, make_subscription

ENTRY = {
    "name": "act",
    "on": "diskFailure",
    "run": {
        "steps": [
            {"name": "snapshot", "command": ["echo", "{{ data.fsName }}", "cb-{{ id }}"]},
            {"name": "work", "command": ["echo", "{{ steps.snapshot.output }}"], "nodes": "n[1-2]", "timeout": "1h"},
        ],
        "always": [{"name": "destroy", "command": ["echo", "{{ data.fsName }}"]}],
        "on_retry": "resume",
    },
}


@pytest.fixture
def file(tmp_path):
    """A function that writes a subscription file with changes of ENTRY, and returns its path."""

    def write(**changes) -> Path:
        path = tmp_path / "subscriptions.yaml"
        path.write_text(json.dumps({"version": 1, "subscriptions": [{**ENTRY, **changes}]}))
        return path

    return write


def clusterbus(*words, **settings):
    environment = {f"CLUSTERBUS_CONSUMERS_{name.upper()}": value for name, value in settings.items()}
    return CliRunner().invoke(app, [*map(str, words)], env=environment)


def given(**expect):
    return [{"given": {"event": "diskFailure", "data": {"fsName": "gpfs1", "diskName": "nsd3"}}, "expect": expect}]


def test_check_runs_the_tests_of_steps(file):
    good = {"steps": [{"name": "snapshot", "command": ["echo", "gpfs1"]}]}
    effect = {"on_retry": "resume", "always": [{"name": "destroy", "command": ["echo", "gpfs1"], "timeout": "10m"}]}

    passes = clusterbus("check", file(tests=given(effect=effect)), transport="local")
    fails = clusterbus("check", file(tests=given(effect=good)), transport="local")
    rejected = given(word="rejected")
    rejected[0]["given"]["data"]["fsName"] = "--force"
    refused = clusterbus("check", file(tests=rejected), transport="local")

    assert passes.exit_code == 0, passes.output
    assert fails.exit_code != 0
    assert "expected the effect steps" in fails.output
    assert refused.exit_code == 0, refused.output


def test_route_shows_the_steps(file):
    shown = clusterbus("route", "diskFailure", "fsName=gpfs1", "diskName=nsd3", "--file", file(), "--json")

    (found,) = [each for each in map(json.loads, shown.stdout.splitlines()) if "alert" not in each]
    effect = found["effect"]
    assert [each["name"] for each in effect["steps"]] == ["snapshot", "work"]
    assert effect["steps"][1]["command"] == ["echo", "{{ steps.snapshot.output }}"]
    assert effect["steps"][1]["nodes"] == "n[1-2]"
    assert effect["always"][0]["command"] == ["echo", "gpfs1"]


def test_check_names_what_is_missing_here_at_its_step(file):
    run = {"steps": [{"name": "one", "command": ["/no/such/program"]}], "always": ENTRY["run"]["steps"][:1]}

    shown = clusterbus("check", file(run=run))

    assert "run.steps.1.command: /no/such/program does not exist on this machine" in " ".join(shown.output.split())


def test_a_node_set_that_is_none_is_a_mistake_at_its_step(file):
    run = {"steps": [{"name": "one", "command": ["true"], "nodes": "n[1"}]}

    shown = clusterbus("check", file(run=run))

    assert shown.exit_code != 0
    assert "run.steps.1.nodes" in shown.output


def test_in_shadow_mode_the_plan_is_recorded_and_nothing_runs(tmp_path):
    bait = tmp_path / "bait"
    verb = RunVerb.model_validate({"steps": [{"name": "one", "command": ["touch", str(bait)]}]})
    subscription = make_subscription("act", verb, mode="shadow")
    settings = Settings.model_validate({"consumers": {"jobs": tmp_path / "jobs"}})

    outcome = call(
        make_delivery(), verb.handler(Surroundings("act", settings=settings)), subscription, threading.Event()
    )

    assert isinstance(outcome, Skipped)
    assert outcome.result["would"]["steps"][0]["command"] == ["touch", str(bait)]
    assert not bait.exists()
    assert not (tmp_path / "jobs").exists()


def test_steps_are_the_same_after_a_way_through_json():
    verb = RunVerb.model_validate(
        ENTRY["run"] | {"steps": [{"name": "c", "copy": {"from": "/a", "to": "/b"}, "nodes": "n1"}]}
    )
    found = Subscriptions(subscriptions=(make_subscription("act", verb),))

    again = Subscriptions.model_validate_json(found.model_dump_json())

    assert again == found
    assert again.digest == found.digest


def test_steps_that_read_facts_are_served_with_facts():
    plain = RunVerb.model_validate({"steps": [{"name": "a", "command": ["echo", "x"]}]})
    reading = RunVerb.model_validate({"steps": [{"name": "a", "command": ["echo", "{{ facts.cluster }}"]}]})

    assert not reads_facts(make_subscription("act", plain))
    assert reads_facts(make_subscription("act", reading))
