"""Commands that their consumer waits for: shown among the jobs while they run, watched, cancelled and recorded so."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.deliveries import DeadLetter, Done
from consumers.inspection import running_jobs
from consumers.policies.retry import attempt
from consumers.processes import attached_runs, cleanup
from consumers.processes.job_files import REQUEST, STATE, Jobs
from consumers.processes.job_runner import cancel, id_of
from consumers.verbs.call.verb import CallVerb
from consumers.verbs.interface import Surroundings
from consumers.verbs.run.verb import RunVerb
from consumers.verbs.scripts.verb import ScriptsVerb
from router.settings.models import Settings
from tests.consuming import QUICK, is_gone, make_delivery, text_of
from tests.waiting import wait_for

HOST = os.uname().nodename


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs")


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as found:
        yield found


def handler(jobs, code, **fields):
    settings = Settings.model_validate({"consumers": {"jobs": jobs.path, "transport": "local"}})
    verb = RunVerb.model_validate({"command": ["sh", "-c", code], "timeout": "60s", **fields})
    return verb.handler(Surroundings("a", threading.Event(), settings))


def clusterbus(jobs, *words):
    return CliRunner().invoke(app, ["jobs", *words], env={"CLUSTERBUS_CONSUMERS_JOBS": str(jobs.path)})


def listed(jobs):
    return [json.loads(line) for line in clusterbus(jobs, "list", "--json").stdout.splitlines()]


def test_what_runs_for_a_moment_is_shown_with_its_output_until_it_ends(jobs, pool, tmp_path):
    go, owed = tmp_path / "go", make_delivery()
    code = f"echo said; echo wrong >&2; while [ ! -e {go} ]; do sleep 0.05; done"

    running = pool.submit(attempt, owed, handler(jobs, code), QUICK)
    (shown,) = wait_for(lambda: listed(jobs), 30, "the run")
    told = clusterbus(jobs, "show", shown["id"]).stdout
    not_in_time = clusterbus(jobs, "wait", shown["id"], "--limit", "300ms")
    go.touch()
    outcome = running.result(60)

    assert (shown["id"], shown["state"], shown["about"]["command"]) == (id_of(owed.mark), "running", ["sh", "-c", code])
    assert "said" in told
    assert "wrong" in told
    assert not_in_time.exit_code == 3
    assert isinstance(outcome, Done)
    assert text_of(outcome) == "said\n"
    assert listed(jobs) == []


def test_what_ends_at_once_costs_nothing_on_disk(jobs):
    attempt(make_delivery(), handler(jobs, "exit 0"), QUICK)

    assert not jobs.path.exists()


def test_a_run_that_cannot_be_shown_runs_nevertheless(jobs, caplog):
    jobs.path.mkdir(mode=0o755)
    jobs.path.chmod(0o755)

    outcome = attempt(make_delivery(), handler(jobs, "sleep 0.6; echo done"), QUICK)

    assert isinstance(outcome, Done)
    assert "run cannot be shown" in caplog.text


@pytest.mark.parametrize("nodes", [None, "n[1-3]"])
def test_row_116_a_cancelled_run_is_recorded_with_who_and_ends_all_its_processes(jobs, pool, tmp_path, nodes):
    pids, owed = tmp_path / "pids", make_delivery()
    code = f'echo $$ >> {pids}; test "$CLUSTERBUS_NODE_NAME" = n1 || {{ sleep 77 & wait; }}'
    running = pool.submit(attempt, owed, handler(jobs, code, **({"nodes": nodes} if nodes else {})), QUICK)
    count = 3 if nodes else 1
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == count and listed(jobs), 60, "the run")

    done = clusterbus(jobs, "cancel", id_of(owed.mark), "--json")
    outcome = running.result(60)
    again = clusterbus(jobs, "cancel", id_of(owed.mark))

    by = json.loads(done.stdout)["by"]
    assert (done.exit_code, json.loads(done.stdout)["state"]) == (0, "cancelled")
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == f"cancelled by {by} (job {id_of(owed.mark)})"
    assert outcome.result["job"] == id_of(owed.mark)
    assert outcome.result["nodes"] == (
        {"succeeded": "n1", "failed": "n[2-3]"} if nodes else {"succeeded": "", "failed": HOST}
    )
    assert "remote_may_run" not in outcome.result
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())
    assert (again.exit_code, "had already ended" in again.stdout) == (1, True)
    assert [each["state"] for each in listed(jobs)] == ["cancelled"]


def test_scripts_and_isolated_functions_are_shown_and_cancelled_too(jobs, pool, tmp_path):
    folder, functions = tmp_path / "scripts", tmp_path / "functions"
    folder.mkdir()
    functions.mkdir()
    (folder / "one").write_text("#!/bin/sh\necho said; exec sleep 78\n")
    (folder / "one").chmod(0o755)
    (folder / "two").write_text("#!/bin/sh\nexit 0\n")
    (folder / "two").chmod(0o755)
    (folder / "handlers.conf").write_text("one = softQuotaExceeded\ntwo = softQuotaExceeded\n")
    (functions / "slow_functions.py").write_text("import time\ndef slow(event):\n    time.sleep(79)\n")
    settings = Settings.model_validate({"consumers": {"jobs": jobs.path, "handlers": [functions]}})
    around = Surroundings("a", threading.Event(), settings)
    scripts = ScriptsVerb.model_validate({"folders": [str(folder)], "timeout": "60s"})
    call = CallVerb.model_validate({"function": "slow_functions:slow", "isolate": True, "timeout": "60s"})
    outcomes, commands = [], []

    for verb in (scripts, call):
        owed = make_delivery()
        running = pool.submit(attempt, owed, verb.handler(around), QUICK)
        job = wait_for(
            lambda: next((each for each in attached_runs.of_all_kinds(jobs) if each.state() == "running"), None),
            60,
            "it",
        )
        commands.append(job.read(REQUEST)["about"]["command"])
        assert cancel(job, "somebody")
        outcomes.append(running.result(60))
        assert outcomes[-1].reason == f"cancelled by somebody (job {id_of(owed.mark)})"

    assert commands == [[str(folder / "one")], ["slow_functions:slow"]]
    assert {name: each["failure"] for name, each in outcomes[0].result["handlers"].items()} == {"one": "cancelled"}
    assert outcomes[0].result["handlers"]["one"]["output"] == "said\n"
    assert [type(each) for each in outcomes] == [DeadLetter] * 2


def left_behind(jobs, command, about=None):
    """Return the folder that a consumer left behind when it was killed."""
    shown = attached_runs.AttachedRun(jobs, command, about or {})
    shown.show()
    shown.close()
    state = shown.job.read(STATE)
    (shown.job.path / STATE).write_text(json.dumps({**state, "owner": state["owner"].rpartition(":")[0] + ":1"}))
    return shown.job


def test_a_run_whose_consumer_has_died_is_lost_until_it_is_repeated_and_a_cancellation_counts(jobs, tmp_path):
    owed, ran = make_delivery(), tmp_path / "ran"
    function = handler(jobs, f"echo x >> {ran}")
    job = left_behind(jobs, function._command(owed))
    seen = listed(jobs)[0]["state"]
    was_cancelled = cancel(job, "somebody")

    repeated = attempt(make_delivery(owed.event, repeated=True), function, QUICK)

    assert (seen, was_cancelled) == ("lost", True)
    assert isinstance(repeated, DeadLetter)
    assert repeated.reason == f"cancelled by somebody (job {job.id})"
    assert not ran.exists()
    assert attached_runs.attached(jobs).tidy(timedelta()) == 1


def test_the_folder_of_a_dead_consumers_run_is_replaced_and_those_that_are_lost_are_removed_soon(jobs, pool, tmp_path):
    owed, go = make_delivery(), tmp_path / "go"
    function = handler(jobs, f"while [ ! -e {go} ]; do sleep 0.05; done")
    old = left_behind(jobs, function._command(owed), {"subscription": "old"})
    left_behind(jobs, function._command(make_delivery()))

    running = pool.submit(attempt, make_delivery(owed.event, repeated=True), function, QUICK)
    wait_for(lambda: old.read(REQUEST).get("about", {}).get("subscription") == "a", 30, "the new run")
    removed = attached_runs.attached(jobs).tidy(timedelta(days=30), lost=timedelta())
    go.touch()

    assert isinstance(running.result(60), Done)
    assert removed == 1
    assert cleanup.end(owed.mark) == 0


@pytest.mark.parametrize("detach", [False, True])
def test_row_123_states_of_nodes_are_shown_before_the_whole_run_ends(jobs, pool, tmp_path, detach):
    go, owed = tmp_path / "go", make_delivery()
    code = f"case $CLUSTERBUS_NODE_NAME in n1) ;; n2) exit 3;; *) while [ ! -e {go} ]; do sleep 0.05; done;; esac"
    function = handler(jobs, code, nodes="n[1-5]", fanout=4, detach=detach)
    running = pool.submit(attempt, owed, function, QUICK)

    (job,) = wait_for(lambda: attached_runs.of_all_kinds(jobs), 60, "the run")
    # Two of four begin where others have ended; the fifth begins then.
    wanted = {"running": "n[3-5]", "succeeded": "n1", "failed": "n2"}
    wait_for(lambda: running_jobs.states_of(job) == wanted, 60, "the states")
    seen = listed(jobs)
    told = clusterbus(jobs, "list").stdout
    go.touch()
    outcome = running.result(60)

    assert [(each["state"], each["states"]) for each in seen] == [("running", wanted)]
    assert "running: n[3-5] running, n1 succeeded, n2 failed" in told
    if not detach:
        assert outcome.result["nodes"] == {"succeeded": "n[1,3-5]", "failed": "n2"}
    else:
        assert clusterbus(jobs, "wait", id_of(owed.mark)).exit_code == 1


@pytest.mark.parametrize("nodes", [None, "n[1-2]"])
@pytest.mark.parametrize("detach", [False, True])
def test_output_is_followed_while_it_comes_until_the_end(jobs, pool, tmp_path, nodes, detach):
    go, owed = tmp_path / "go", make_delivery()
    code = f"echo before; while [ ! -e {go} ]; do sleep 0.05; done; echo wrong >&2; printf 'no newline'"
    fields = {"nodes": nodes} if nodes else {}
    running = pool.submit(attempt, owed, handler(jobs, code, detach=detach, **fields), QUICK)
    (job,) = wait_for(lambda: attached_runs.of_all_kinds(jobs), 60, "the run")

    with running_jobs.LiveOutput(job) as output:
        lines = []
        texts = ["n1: before", "n2: before"] if nodes else ["before"]
        wait_for(lambda: lines.extend(map(str, output.read())) or {*texts} <= {*lines}, 60, "the output before the end")
        threading.Timer(0.5, go.touch).start()
        told = clusterbus(jobs, "show", job.id, "--follow")
    running.result(60)

    assert told.exit_code == 0
    said = told.stdout.splitlines()
    wrong = ["n1 stderr: wrong", "n2 stderr: wrong"] if nodes else ["stderr: wrong"]
    rest = ["n1: no newline", "n2: no newline"] if nodes else ["no newline"]
    assert {*texts, *wrong, *rest} <= {*said}
    assert said[-1].startswith(f"--- {job.id} ")
    if nodes:
        assert {"--- n1 running", "--- n1 succeeded", "--- n2 succeeded"} <= {*said}
        assert said.index("n1: no newline") < said.index("--- n1 succeeded")


def test_a_consumer_looks_at_the_disk_a_few_times_a_second_only(jobs, monkeypatch):
    looks = []
    shown = attached_runs.AttachedRun(jobs, handler(jobs, "true")._command(make_delivery()), {})
    monkeypatch.setattr(shown, "show", lambda: looks.append(time.monotonic()))

    for _ in range(10_000):
        shown.cancelled_by()

    assert len(looks) <= 1
