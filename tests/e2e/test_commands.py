"""The commands, as an operator uses them, on a real broker with the programs running."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.flow import AUDIT, Flow
from tests.operating import json_lines
from tests.rabbit import SharedBroker
from tests.waiting import wait_for

TICKETS = AUDIT + (
    "  - name: tickets\n"
    "    on: softQuotaExceeded\n"
    "    retry: {attempts: 2, first: 1s}\n"
    '    run: {command: ["@FOLDER@/ticket", "{{ data.filesetName }}"], timeout: 10s}\n'
)


def clusterbus(flow: Flow, *words: str, code: int | None = 0) -> str:
    """Run a command with the flow's settings; return what it printed.  It must end with *code*, unless that is None."""
    done = subprocess.run(
        [sys.executable, "-m", "consumers.cli.main", "--log-level", "ERROR", *words],
        env={**os.environ, **flow.environment, "CLUSTERBUS_SHIM_SPOOL": str(flow.spool("nsd01"))},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert code in (None, done.returncode), f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout if done.returncode in (0, 1) else done.stderr


@pytest.fixture
def flow(tmp_path: Path, vhost_url: str, broker: SharedBroker) -> Iterator[Flow]:
    """The whole way, running, with a command that fails until the file `mended` is there."""
    password, parts = tmp_path / "management", urlsplit(broker.http_url)
    password.write_text(f"{parts.password}\n")
    password.chmod(0o600)
    password.chmod(0o600)
    ticket = tmp_path / "ticket"
    ticket.write_text(f'#!/bin/sh\n[ -e "{tmp_path}/mended" ] || exit 3\necho "$1" >>"{tmp_path}/tickets"\n')
    ticket.chmod(0o755)
    with Flow(tmp_path, vhost_url, subscriptions=TICKETS.replace("@FOLDER@", str(tmp_path))) as flow:
        flow.environment |= {
            "CLUSTERBUS_BROKER_MANAGEMENT": f"{parts.scheme}://{parts.username}@{parts.hostname}:{parts.port}",
            "CLUSTERBUS_BROKER_MANAGEMENT_PASSWORD_FILE": str(password),
        }
        yield flow


@pytest.mark.long
def test_a_dead_letter_is_found_shown_replayed_to_its_own_subscription_and_gone(flow: Flow, tmp_path: Path) -> None:
    flow.captured("nsd01", "softQuotaExceeded", "--fsName", "gpfs1", "--filesetName", "projects")

    (letter,) = wait_for(
        lambda: json_lines(clusterbus(flow, "dead", "list", "--json", "--subscription", "tickets")), 30, "the letter"
    )
    assert letter["reason"] == "exit code 3"
    assert letter["attempt"] == 2
    shown = clusterbus(flow, "dead", "show", letter["id"])
    assert "attempt 1" in shown
    assert "attempt 2" in shown
    assert "would replay" in clusterbus(flow, "dead", "replay", "--subscription", "tickets", "--dry-run")

    (tmp_path / "mended").touch()
    assert "replayed" in clusterbus(flow, "dead", "replay", letter["id"])

    tickets = tmp_path / "tickets"
    assert wait_for(lambda: tickets.exists() and tickets.read_text(), 30, "the ticket") == "projects\n"
    assert clusterbus(flow, "dead", "list", "--json") == ""
    assert len(flow.audited()) == len({each.id for each in flow.audited()}), "the audit did not get it again"
    (replayed,) = json_lines(clusterbus(flow, "dead", "list", "--json", "--state", "replayed"))
    assert replayed["id"] == letter["id"]


@pytest.mark.long
def test_a_dropped_letter_stays_on_record_and_a_letter_that_is_not_there_is_said_so(flow: Flow) -> None:
    flow.captured("nsd01", "softQuotaExceeded", "--fsName", "gpfs1", "--filesetName", "projects")
    (letter,) = wait_for(lambda: json_lines(clusterbus(flow, "dead", "list", "--json")), 30, "the letter")

    clusterbus(flow, "dead", "drop", letter["id"])

    (dropped,) = json_lines(clusterbus(flow, "dead", "list", "--json", "--state", "dropped"))
    assert dropped["by"]
    assert dropped["settled_at"]
    clusterbus(flow, "dead", "replay", letter["id"], code=1)
    clusterbus(flow, "dead", "show", "nosuch", code=1)
    assert "no letters selected" in clusterbus(flow, "dead", "drop", code=2)


@pytest.mark.long
def test_what_is_emitted_by_hand_is_seen_in_history_by_pattern_and_age(flow: Flow) -> None:
    words = ["emit", "gpfs", "diskFailure", "fsName=gpfs1", "diskName=nsd3", "--node", "nsd09", "--cluster", "prod"]
    (emitted,) = json_lines(clusterbus(flow, *words, "--json"))
    clusterbus(flow, "emit", "gpfs", "mount", "fsName=gpfs1")
    flow.wait_audited(2)

    (event,) = json_lines(clusterbus(flow, "tail", "gpfs.prod.disk.#", "--since", "1h", "--no-follow", "--json"))

    assert event["id"] == emitted["id"]
    assert event["node"] == "nsd09"
    assert event["data"] == {"eventName": "diskFailure", "fsName": "gpfs1", "diskName": ["nsd3"]}
    assert "diskFailure" in clusterbus(flow, "tail", "--since", "1h", "--no-follow")
    assert "is not NAME=VALUE" in clusterbus(flow, "emit", "gpfs", "mount", "fsName", code=2)


@pytest.mark.long
def test_what_no_catalogue_has_is_emitted_only_on_purpose(flow: Flow) -> None:
    clusterbus(flow, "emit", "softQuotaExceeded", "fsNam=gpfs1", code=2)
    clusterbus(flow, "emit", "slurm", "jobDone", "frame=3", code=2)

    clusterbus(flow, "emit", "--unknown", "slurm.jobDone", "frame=3")
    clusterbus(flow, "emit", "gpfs.mount", "fsName=gpfs1", "brandNew=1", "--unknown")
    flow.wait_audited(2, origin="")

    found = json_lines(clusterbus(flow, "tail", "--since", "1h", "--no-follow", "--json"))
    assert [(each["type"], each["category"]) for each in found] == [
        ("slurm.jobDone", "unknown"),
        ("gpfs.mount", "mount"),
    ]
    assert found[1]["data"] == {"eventName": "mount", "fsName": "gpfs1", "brandNew": "1"}


@pytest.mark.long
def test_the_doctor_finds_all_well_and_then_what_is_not(flow: Flow) -> None:
    flow.captured("nsd01", "mount", "--fsName", "gpfs1")
    flow.wait_audited(1)

    found = json_lines(clusterbus(flow, "doctor", "--json"))
    # The broker of the tests has RabbitMQ's own limit for messages, and the doctor says so.
    assert [each for each in found if each["verdict"] != "ok" and "max_message_size" not in each["advice"]] == []
    parts = {"machine", "spool", "relay", "broker", "router", "audit", "tickets", "store", "hand-overs"}
    assert parts <= {each["part"] for each in found}
    asked = [f"--part={each}" for each in ("relay", "broker", "subscriptions", "router", "publishing", "store")]
    clusterbus(flow, "doctor", *asked, code=0)
    hand_overs = [each["seen"].partition(":")[0] for each in found if each["part"] == "hand-overs"]
    assert hand_overs == ["captured → routed", "captured → begun", "begun → done"]
    (seen,) = json_lines(clusterbus(flow, "status", "--json"))
    assert [each["seen"] for each in seen["findings"] if each["verdict"] == "error"] == []
    assert seen["unreachable"] is False
    # The management of a busy broker knows a new connection some seconds later.
    wait_for(lambda: "one router runs, on " in clusterbus(flow, "status", code=None), 30, "the router is counted")

    flow.router.stop()
    flow.relays["nsd01"].stop()

    def wrong() -> set[str]:
        found = json_lines(clusterbus(flow, "doctor", "--json", code=1))
        return {each["part"] for each in found if each["verdict"] == "error" and each["advice"]}

    assert wait_for(lambda: {"relay", "router"} == wrong(), 20, "the doctor names both")
    (seen,) = json_lines(clusterbus(flow, "status", "--json", code=1))
    assert seen["verdict"] == "error"
    assert "no router reads clusterbus.ingress" in clusterbus(flow, "status", code=1)


@pytest.mark.long
def test_commands_that_cannot_reach_the_broker_say_so_and_end_with_3(flow: Flow) -> None:
    flow.environment |= {"CLUSTERBUS_BROKER": "amqp://guest:guest@127.0.0.1:1/", "CLUSTERBUS_BROKER_PATIENCE": "1s"}

    clusterbus(flow, "status", code=3)
    clusterbus(flow, "doctor", code=3)
    for words in (["emit", "gpfs", "mount"], ["broker", "setup"], ["tail", "--since", "1h"]):
        assert "127.0.0.1:1" in clusterbus(flow, *words, code=3)


@pytest.mark.long
def test_mistakes_of_settings_and_subscriptions_end_with_2_or_1_and_name_themselves(flow: Flow, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nsubscriptions:\n  - {name: a, on: softQuotaExceded, log: {}, retri: {}}\n")

    (first, second) = json_lines(clusterbus(flow, "check", str(bad), "--json", code=1))
    assert (first["line"], second["line"]) == (3, 3)
    assert "softQuotaExceeded" in first["message"] + second["message"]
    assert "bad.yaml:3" in clusterbus(flow, "consume", str(bad), code=2)
    assert "ok: 2 subscriptions" in clusterbus(flow, "check")
    flow.environment["CLUSTERBUS_ROUTER_WINDOW"] = "90"
    assert "router.window: '90' is not a duration" in clusterbus(flow, "settings", code=2)


def test_the_topology_is_shown_dry_and_declared_twice_without_harm(flow: Flow) -> None:
    dry = json_lines(clusterbus(flow, "broker", "setup", "--dry-run", "--json"))

    assert {"clusterbus.ingress", "clusterbus.history", "clusterbus.retry.6h"} <= {each.get("name") for each in dry}
    assert json_lines(clusterbus(flow, "broker", "setup", "--json")) == dry
    assert json_lines(clusterbus(flow, "broker", "setup", "--json")) == dry


def test_the_catalogue_shows_an_event_with_its_variables_and_the_nearest_name(flow: Flow) -> None:
    (quota,) = json_lines(clusterbus(flow, "catalogue", "softquotaexceeded", "--json"))

    assert quota["category"] == "quota"
    assert "blockUsage" in clusterbus(flow, "catalogue", "softQuotaExceeded")
    assert len(json_lines(clusterbus(flow, "catalogue", "--source", "gpfs", "--json"))) == 57
    assert clusterbus(flow, "catalogue", "softQuotaExceded", code=1) == ""
