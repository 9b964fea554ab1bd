"""Steps with their real processes: killed, stopped and cancelled at each step, the snapshot is never left behind."""

import json
import os
import pwd
import signal
import subprocess
import threading
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.deliveries import DeadLetter, Done, Retry, Waiting
from consumers.policies.retry import attempt
from consumers.processes import cleanup, job_runner, lost_jobs
from consumers.processes.job_files import LOG, REQUEST, RESULT, STATE, Jobs
from consumers.programs.consume import taken_over
from consumers.store import attempts
from consumers.store.attempts import Attempt
from consumers.store.database import Store
from consumers.verbs.action import definition_checks
from consumers.verbs.action.definitions import Action
from consumers.verbs.action.verb import BoundAction
from consumers.verbs.interface import Surroundings
from consumers.verbs.run.verb import RunVerb
from router.settings.models import Settings
from tests.consuming import QUICK, make_delivery, make_event, now
from tests.other_users import as_root
from tests.waiting import wait_for


@pytest.fixture
def at(tmp_path, monkeypatch):
    """The folder of jobs; the handlers of this module wait for a moment only, instead of two seconds."""
    monkeypatch.setattr("consumers.verbs.run.steps.steps_handler.AT_FIRST", timedelta(seconds=0.3))
    jobs = Jobs(tmp_path / "jobs")
    yield jobs
    for job in jobs.all():
        if (begun := job.read(STATE)) and cleanup.is_alive(begun["owner"]):
            os.kill(begun["pid"], signal.SIGKILL)
        cleanup.end(job.read(REQUEST)["mark"])


class Snapshot:
    """An action of three steps whose snapshot is a file; each step waits at its gate while that exists."""

    def __init__(self, folder: Path) -> None:
        self.file, self.ran, self._gates = folder / "snapshot", folder / "ran", folder

    def code(self, name: str, effect: str, end: str = "true") -> str:
        gate, at_gate = self._gates / f"gate-{name}", self._gates / f"at-{name}"
        wait = f"while [ -e {gate} ]; do touch {at_gate}; sleep 0.02; done"
        return f"echo {name} >> {self.ran}; {effect}; {wait}; {end}"

    def close(self, name: str) -> None:
        (self._gates / f"gate-{name}").touch()

    def open(self, name: str) -> None:
        (self._gates / f"gate-{name}").unlink(missing_ok=True)

    def wait_at(self, name: str) -> None:
        wait_for((self._gates / f"at-{name}").exists, 60, f"step {name}")

    def steps(self, *, nodes: str | None = None, work: str = "true", destroy: str = "true") -> dict:
        where = {"nodes": nodes} if nodes else {}
        return {
            "steps": [
                {"name": "snapshot", "command": sh(self.code("snapshot", f"touch {self.file}", "echo snap-1"))},
                {"name": "work", "command": sh(self.code("work", ":", work)), **where},
            ],
            "always": [{"name": "destroy", "command": sh(self.code("destroy", f"rm -f {self.file}", destroy))}],
        }

    @property
    def calls(self) -> list[str]:
        return self.ran.read_text().split() if self.ran.exists() else []


@pytest.fixture
def snapshot(tmp_path):
    """The action."""
    return Snapshot(tmp_path)


def sh(code):
    return ["sh", "-c", code]


def handler(at, run, *, stopping=None, **consumers):
    settings = Settings.model_validate({"consumers": {"jobs": at.path, "transport": "local", **consumers}})
    verb = RunVerb.model_validate({"timeout": "60s", **run})
    return verb.handler(Surroundings("a", stopping or threading.Event(), settings))


def through(function, owed, seconds=60):
    """Return the outcome once it is one, calling again as the engine would."""
    return wait_for(
        lambda: None if isinstance(found := attempt(owed, function, QUICK), Waiting) else found, seconds, "an outcome"
    )


def states(result):
    return {each["name"]: each["state"] for part in ("steps", "always") for each in result.get(part, ())}


def pid_of(at):
    return wait_for(lambda: at.all() and at.all()[0].read(STATE), 20, "a process that runs the steps")["pid"]


def clusterbus(at, *words):
    return CliRunner().invoke(app, ["jobs", *words], env={"CLUSTERBUS_CONSUMERS_JOBS": str(at.path)})


def test_steps_run_one_after_another_and_the_outcome_lists_them(at, snapshot):
    run = snapshot.steps()
    run["steps"][1]["command"] = [
        "echo",
        "{{ data.fsName }}",
        "{{ steps.snapshot.output }}",
        "{{ steps.snapshot.exit }}",
    ]

    outcome = through(handler(at, run), make_delivery())

    assert isinstance(outcome, Done)
    assert states(outcome.result) == {"snapshot": "done", "work": "done", "destroy": "done"}
    (_, work), here = outcome.result["steps"], os.uname().nodename
    assert work["output"] == [{"nodes": here, "text": "gpfs1 snap-1 0\n", "octets": 15}]
    assert work["exit"] == {"0": here}
    assert outcome.result["job"] == at.all()[0].id
    assert snapshot.calls == ["snapshot", "destroy"]
    assert not snapshot.file.exists()


def test_a_step_that_fails_ends_in_the_clean_up_and_names_itself(at, snapshot):
    outcome = through(handler(at, snapshot.steps(work="echo oops >&2; exit 3")), make_delivery())

    assert isinstance(outcome, Retry)
    assert outcome.reason == "step work: exit code 3: oops"
    assert states(outcome.result) == {"snapshot": "done", "work": "failed", "destroy": "done"}
    assert not snapshot.file.exists()


def test_a_step_whose_time_is_up_ends_in_the_clean_up(at, snapshot):
    run = snapshot.steps(work="sleep 47")
    run["steps"][1]["timeout"] = "0.5s"

    outcome = through(handler(at, run), make_delivery())

    assert outcome.reason.startswith("step work: did not finish within 0.5s")
    assert not snapshot.file.exists()


def test_all_steps_together_have_a_deadline_and_the_clean_up_has_time_of_its_own(at, snapshot):
    run = {**snapshot.steps(work="sleep 47", destroy="sleep 1"), "deadline": "1.5s"}

    outcome = through(handler(at, run), make_delivery())

    assert outcome.reason == "step work: not finished before the deadline of all steps"
    assert states(outcome.result) == {"snapshot": "done", "work": "failed", "destroy": "done"}
    assert not snapshot.file.exists()


@pytest.mark.parametrize("nodes", [None, "n[1-2]"])
@pytest.mark.parametrize("step", ["snapshot", "work", "destroy"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_whatever_kills_the_process_of_the_steps_the_snapshot_is_destroyed(at, snapshot, step, nodes, number):
    snapshot.close(step)
    function, owed = handler(at, snapshot.steps(nodes=nodes)), make_delivery()
    attempt(owed, function, QUICK)
    snapshot.wait_at(step)
    count = 2 if nodes and step == "work" else 1
    wait_for(lambda: snapshot.calls.count(step) == count, 60, "the step on all its nodes")
    begun = len(snapshot.calls)

    os.kill(pid_of(at), number)
    snapshot.open("destroy")
    outcome = through(function, owed)

    assert not snapshot.file.exists()
    later = {name for name in snapshot.calls[begun:] if step != "destroy" or name != "destroy"}
    assert later <= {"destroy"}
    assert cleanup.end(owed.mark) == 0
    if step == "destroy":
        # All that was wanted is done.
        assert isinstance(outcome, Done)
        assert states(outcome.result) == {"snapshot": "done", "work": "done", "destroy": "done"}
    else:
        assert isinstance(outcome, Retry)
        assert f"step {step}: " in outcome.reason
        assert states(outcome.result)[step] == "lost"
        assert states(outcome.result)["destroy"] == "done"


def test_what_a_killed_process_left_is_ended_before_the_clean_up(at, snapshot, tmp_path):
    pid = tmp_path / "pid"
    # A process that was killed and not waited for has no words.
    is_alive = f"if grep -q . /proc/$(cat {pid})/cmdline; then exit 9; fi"
    function = handler(at, snapshot.steps(work=f"echo $$ > {pid}; sleep 49; true", destroy=is_alive))
    owed = make_delivery()
    attempt(owed, function, QUICK)
    wait_for(lambda: pid.exists() and pid.read_text(), 60, "the work")

    os.kill(pid_of(at), signal.SIGKILL)
    outcome = through(function, owed)

    assert states(outcome.result) == {"snapshot": "done", "work": "lost", "destroy": "done"}


@pytest.mark.parametrize("step", ["snapshot", "work"])
@pytest.mark.parametrize("is_lost", [False, True])
def test_a_cancelled_action_cleans_up_and_is_a_dead_letter(at, snapshot, step, is_lost):
    snapshot.close(step)
    function, owed = handler(at, snapshot.steps()), make_delivery()
    attempt(owed, function, QUICK)
    snapshot.wait_at(step)
    if is_lost:
        os.kill(pid_of(at), signal.SIGKILL)

    cancelled = clusterbus(at, "cancel", at.all()[0].id, "--json")

    assert (cancelled.exit_code, json.loads(cancelled.stdout)["state"]) == (0, "cancelled")
    assert not snapshot.file.exists()
    outcome = through(function, owed)
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason.startswith("cancelled by ")
    assert states(outcome.result)[step] in ("cancelled", "lost")
    assert states(outcome.result)["destroy"] == "done"


def test_people_see_which_step_runs_and_what_it_prints(at, snapshot):
    snapshot.close("work")
    run = snapshot.steps()
    run["steps"][1]["command"][2] = f"echo said; echo oops >&2; {run['steps'][1]['command'][2]}"
    function, owed = handler(at, run), make_delivery()
    attempt(owed, function, QUICK)
    snapshot.wait_at("work")

    shown = json.loads(clusterbus(at, "show", at.all()[0].id, "--json").stdout)
    snapshot.open("work")
    through(function, owed)
    ended = json.loads(clusterbus(at, "show", at.all()[0].id, "--json").stdout)

    assert shown["progress"] == {"steps": {"snapshot": "done", "work": "running"}, "always": {"destroy": "due"}}
    assert shown["out"] == "--- snapshot\nsnap-1\n--- work\nsaid\n"
    assert shown["err"] == "oops\n"
    assert [each["state"] for each in ended["steps"]] == ["done", "done"]
    assert ended["out"].endswith("--- destroy\n")


def test_steps_here_and_on_nodes_are_followed(at):
    run = {
        "steps": [
            {"name": "one", "command": ["echo", "said here"]},
            {"name": "two", "command": sh("echo said there; test $CLUSTERBUS_NODE_NAME = n1"), "nodes": "n[1-2]"},
        ],
        "always": [{"name": "undo", "command": ["echo", "undone"]}],
    }
    through(handler(at, run), make_delivery())

    followed = clusterbus(at, "show", at.all()[0].id, "--follow").stdout.splitlines()

    for line in ("--- one", "said here", "--- two", "n1: said there", "n2: said there", "--- n1 succeeded", "undone"):
        assert line in followed
    assert "--- n2 failed, exit code 1" in followed


@as_root
def test_a_process_that_root_starts_runs_as_the_user_whose_job_it_is(at, snapshot, monkeypatch):
    """The interpreter of the tests may be closed to others, so only what would be started is looked at."""
    nobody, began = pwd.getpwnam("nobody"), []
    with monkeypatch.context() as patch:
        patch.setattr("consumers.processes.job_runner.start", lambda _: None)
        attempt(make_delivery(), handler(at, snapshot.steps()), QUICK)
    (job,) = at.all()
    os.chown(job.path, nobody.pw_uid, nobody.pw_gid)

    def run(*words, **options):
        began.append(options)
        return subprocess.CompletedProcess(words, 0)

    with monkeypatch.context() as patch:
        patch.setattr("subprocess.run", run)
        job_runner.start(job)
        os.chown(job.path, 0, 0)
        job_runner.start(job)

    assert [(each["user"], each["group"]) for each in began] == [(nobody.pw_uid, nobody.pw_gid), (None, None)]
    assert (job.path / LOG).stat().st_uid == nobody.pw_uid


def test_a_cancellation_during_the_clean_up_waits_for_its_end(at, snapshot):
    snapshot.close("destroy")
    function, owed = handler(at, snapshot.steps()), make_delivery()
    attempt(owed, function, QUICK)
    snapshot.wait_at("destroy")
    threading.Timer(1, snapshot.open, ["destroy"]).start()

    cancelled = clusterbus(at, "cancel", at.all()[0].id)

    assert "had already ended" in cancelled.stdout
    assert isinstance(through(function, owed), Done)
    assert not snapshot.file.exists()


def test_a_cancellation_during_the_clean_up_after_a_failure_prevents_another_attempt(at, snapshot):
    snapshot.close("destroy")
    function, owed = handler(at, snapshot.steps(work="exit 3")), make_delivery()
    attempt(owed, function, QUICK)
    snapshot.wait_at("destroy")
    threading.Timer(1, snapshot.open, ["destroy"]).start()

    cancelled = clusterbus(at, "cancel", at.all()[0].id, "--json")
    outcome = through(function, owed)
    shown = clusterbus(at, "show", at.all()[0].id, "--json")

    assert (cancelled.exit_code, json.loads(cancelled.stdout)["state"]) == (0, "cancelled")
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason.startswith("cancelled by ")
    assert (states(outcome.result)["work"], states(outcome.result)["destroy"]) == ("failed", "done")
    assert not snapshot.file.exists()
    # What each step was doing is no longer said of a job that has ended.
    assert "progress" not in json.loads(shown.stdout)


def test_a_job_that_was_cancelled_before_anything_began_has_nothing_to_clean_up(at, snapshot, monkeypatch):
    owed = make_delivery()
    with monkeypatch.context() as patch:
        patch.setattr("consumers.processes.job_runner.start", lambda _: None)
        attempt(owed, handler(at, snapshot.steps()), QUICK)

    cancelled = clusterbus(at, "cancel", at.all()[0].id)

    assert cancelled.exit_code == 0, cancelled.stdout
    assert snapshot.calls == []
    assert isinstance(through(handler(at, snapshot.steps()), owed), DeadLetter)


def test_a_consumer_that_stops_or_dies_leaves_the_steps_and_the_next_finds_them(at, snapshot):
    snapshot.close("work")
    stopping, owed = threading.Event(), make_delivery()
    function = handler(at, snapshot.steps(), stopping=stopping)
    attempt(owed, function, QUICK)
    snapshot.wait_at("work")
    stopping.set()

    assert attempt(owed, function, QUICK) is None
    snapshot.open("work")
    outcome = through(handler(at, snapshot.steps()), make_delivery(owed.event, repeated=True))

    assert isinstance(outcome, Done)
    assert snapshot.calls == ["snapshot", "work", "destroy"]


def test_a_repeated_attempt_without_a_journal_cleans_up_first(at, snapshot):
    snapshot.file.touch()

    outcome = through(handler(at, snapshot.steps()), make_delivery(repeated=True))

    assert isinstance(outcome, Done)
    assert snapshot.calls == ["destroy", "snapshot", "work", "destroy"]
    assert [each["state"] for each in outcome.result["before"]] == ["done"]


def test_steps_that_run_on_another_machine_are_waited_for_and_taken_over_after_their_time(at, snapshot, monkeypatch):
    owed = make_delivery()
    with monkeypatch.context() as patch:
        patch.setattr("consumers.verbs.run.steps.steps_handler.this_machine", lambda: "elsewhere")
        patch.setattr("consumers.processes.job_runner.start", lambda _: None)
        first = attempt(owed, handler(at, snapshot.steps()), QUICK)
    here = Jobs(at.path.with_name("jobs-here"))

    waits = attempt(make_delivery(owed.event, earlier=first.result), handler(here, snapshot.steps()), QUICK)
    late = {**first.result, "until": "2026-01-01T00:00:00+00:00"}
    outcome = through(handler(here, snapshot.steps()), make_delivery(owed.event, earlier=late))

    assert isinstance(waits, Waiting)
    assert waits.reason.endswith(" runs on elsewhere")
    assert waits.result == first.result
    assert isinstance(outcome, Done)
    assert snapshot.calls == ["destroy", "snapshot", "work", "destroy"]


def test_steps_that_another_machine_may_have_begun_are_waited_for(at, snapshot):
    """Its consumer was killed when the process of the steps had begun, and the store did not know yet."""
    snapshot.file.touch()
    killed = {"repeated": True, "begun_by": "another-boot:1:2:3"}
    owed = make_delivery(**killed)

    waits = attempt(owed, handler(at, snapshot.steps()), QUICK)
    again = attempt(make_delivery(owed.event, **killed, earlier=waits.result), handler(at, snapshot.steps()), QUICK)

    assert waits.reason == f"job {waits.result['job']} may run on another machine"
    assert again.reason.endswith(" runs on another machine")
    assert snapshot.calls == []
    late = {**waits.result, "until": "2026-01-01T00:00:00+00:00"}
    outcome = through(handler(at, snapshot.steps()), make_delivery(owed.event, **killed, earlier=late))
    assert isinstance(outcome, Done)
    assert snapshot.calls == ["destroy", "snapshot", "work", "destroy"]


def test_what_a_restart_of_the_machine_left_is_cleaned_up_when_a_consumer_starts(at, snapshot):
    snapshot.close("work")
    owed = make_delivery()
    attempt(owed, handler(at, snapshot.steps()), QUICK)
    snapshot.wait_at("work")
    (job,) = at.all()
    os.kill(pid_of(at), signal.SIGKILL)
    cleanup.end(owed.mark)
    # Another boot, as after a restart.
    state = job.read(STATE)
    job.write(STATE, {**state, "owner": f"{'0' * 8}{state['owner'][8:]}"})

    lost_jobs.adopt(at, lambda _: "")

    wait_for(lambda: job.read(RESULT), 60, "the clean-up")
    assert not snapshot.file.exists()
    assert job.read(RESULT)["ended"] == "lost"


def test_what_another_machine_has_taken_over_is_not_cleaned_up_beneath_it(at, snapshot, tmp_path):
    snapshot.close("work")
    owed = make_delivery()
    attempt(owed, handler(at, snapshot.steps()), QUICK)
    snapshot.wait_at("work")
    (job,) = at.all()
    os.kill(pid_of(at), signal.SIGKILL)
    there = {"job": job.id, "host": "elsewhere", "until": "2126-01-01T00:00:00+00:00"}
    with Store(f"sqlite:///{tmp_path}/store.db") as store:
        began = now()
        row = Attempt(owed, "", "", began, began, Waiting(timedelta(seconds=1), "runs", there))
        with store.writing() as transaction:
            attempts.record(transaction, [row])

        lost_jobs.adopt(at, partial(taken_over, store))

    waits = attempt(make_delivery(owed.event, earlier=there), handler(at, snapshot.steps()), QUICK)
    assert job.read(RESULT)["reason"] == "taken over by elsewhere"
    assert isinstance(waits, Waiting)
    assert snapshot.file.exists()
    assert snapshot.calls == ["snapshot", "work"]


def test_a_retry_begins_anew_or_goes_on_where_it_stopped(at, snapshot):
    event = make_event()
    fails = snapshot.steps(work="exit 3")
    goes_on = {**snapshot.steps(work="echo {{ steps.snapshot.output }}"), "on_retry": "resume"}

    first = through(handler(at, fails), make_delivery(event))
    again = through(handler(at, snapshot.steps()), make_delivery(event, attempt=2, earlier=first.result))
    later = make_delivery(make_event(), attempt=2, earlier=first.result)
    resumed = through(handler(at, goes_on), later)

    assert snapshot.calls == ["snapshot", "work", "destroy"] * 2 + ["work", "destroy"]
    assert isinstance(again, Done)
    assert isinstance(resumed, Done)
    assert resumed.result["steps"][1]["output"][0]["text"] == "snap-1\n"


def test_a_retry_on_nodes_that_goes_on_runs_only_where_it_failed(at, tmp_path):
    ran, good = tmp_path / "ran", tmp_path / "good"
    code = f"echo $CLUSTERBUS_NODE_NAME >> {ran}; test -e {good} -o $CLUSTERBUS_NODE_NAME != n2"
    run = {"steps": [{"name": "work", "command": sh(code), "nodes": "n[1-3]"}], "on_retry": "resume"}
    event = make_event()

    first = through(handler(at, run), make_delivery(event))
    good.touch()
    second = through(handler(at, run), make_delivery(event, attempt=2, earlier=first.result))

    assert first.reason == "step work: exit code 1 on n2"
    assert second.result["steps"][0]["nodes"] == {"succeeded": "n[1-3]", "failed": ""}
    assert sorted(ran.read_text().split()) == ["n1", "n2", "n2", "n3"]


def test_a_clean_up_that_failed_is_run_first_by_the_retry(at, snapshot):
    event = make_event()
    first = through(handler(at, snapshot.steps(destroy="exit 4")), make_delivery(event))

    second = through(handler(at, snapshot.steps()), make_delivery(event, attempt=2, earlier=first.result))

    assert first.reason == "clean-up step destroy: exit code 4"
    assert snapshot.calls == ["snapshot", "work", "destroy", "destroy", "snapshot", "work", "destroy"]
    assert isinstance(second, Done)


def test_the_attempt_after_a_lost_one_waits_for_its_clean_up(at, snapshot):
    snapshot.close("work")
    owed = make_delivery()
    attempt(owed, handler(at, snapshot.steps()), QUICK)
    snapshot.wait_at("work")
    os.kill(pid_of(at), signal.SIGKILL)
    snapshot.open("work")

    through(handler(at, snapshot.steps()), make_delivery(owed.event, attempt=2))

    assert snapshot.calls == ["snapshot", "work", "destroy", "snapshot", "work", "destroy"]


def test_an_attempt_whose_process_could_not_start_is_never_begun_later(at, snapshot, monkeypatch):
    def cannot(_):
        raise OSError("no more processes")

    owed = make_delivery()
    with monkeypatch.context() as patch:
        patch.setattr("consumers.processes.job_runner.start", cannot)
        first = attempt(owed, handler(at, snapshot.steps()), QUICK)

    second = through(handler(at, snapshot.steps()), make_delivery(owed.event, attempt=2))

    assert isinstance(first, Retry)
    assert isinstance(second, Done)
    assert snapshot.calls == ["destroy", "snapshot", "work", "destroy"]


def test_a_request_that_cannot_be_read_is_a_failure_and_not_tried_for_ever(at, snapshot, monkeypatch):
    started = job_runner.start

    def with_a_strange_request(job):
        job.write(REQUEST, {**job.read(REQUEST), "sequence": {"strange": True}})
        started(job)

    monkeypatch.setattr("consumers.processes.job_runner.start", with_a_strange_request)

    outcome = through(handler(at, snapshot.steps()), make_delivery())

    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("the steps cannot begin: ValidationError")
    assert snapshot.calls == []


def test_a_step_does_not_begin_unless_its_beginning_is_on_disk(at, snapshot, monkeypatch):
    started = job_runner.start

    def with_a_full_disk(job):
        if not (job.path / "journal").is_symlink():
            (job.path / "journal").symlink_to("/no/such/folder/journal")
        started(job)

    monkeypatch.setattr("consumers.processes.job_runner.start", with_a_full_disk)

    outcome = through(handler(at, snapshot.steps()), make_delivery())

    assert isinstance(outcome, Retry)
    assert outcome.reason == "step snapshot: not begun: the journal cannot be written"
    assert snapshot.calls == ["destroy"]


@pytest.mark.parametrize("delay", [each / 20 for each in range(0, 30, 2)])
def test_at_whatever_moment_the_process_is_killed_nothing_is_left(at, snapshot, delay):
    function, owed = handler(at, snapshot.steps(work="sleep 0.2")), make_delivery()
    attempt(owed, function, QUICK)
    pid = pid_of(at)

    time.sleep(delay)  # the moment is what is varied
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    outcome = through(function, owed)

    assert not snapshot.file.exists()
    assert cleanup.end(owed.mark) == 0
    assert snapshot.calls.count("snapshot") <= 1
    assert not snapshot.calls or snapshot.calls[-1] == "destroy"
    if isinstance(outcome, Done):
        assert set(states(outcome.result).values()) == {"done"}
    else:
        assert "killed" in outcome.reason or outcome.reason.startswith("lost")
        assert set(states(outcome.result).values()) <= {"done", "lost", "skipped"}


def test_all_texts_of_an_outcome_are_bounded(at):
    many = [{"name": f"s{each}", "command": ["head", "-c", "3000", "/dev/zero"]} for each in range(8)]

    outcome = through(handler(at, {"steps": many, "output": 1024}), make_delivery())

    texts = [text for step in outcome.result["steps"] for text in step["output"]]
    assert sum(len(each["text"]) for each in texts) == 8 * 1024
    assert {each["octets"] for each in texts} == {3000}


def test_a_clean_up_step_that_needs_what_never_began_is_skipped(at):
    run = {
        "steps": [{"name": "one", "command": ["false"]}, {"name": "two", "command": ["echo", "id-1"]}],
        "always": [
            {"name": "undo", "command": ["echo", "{{ steps.two.output }}"]},
            {"name": "tell", "command": ["echo", "{{ steps.two.state | default('never begun') }}"]},
        ],
    }

    outcome = through(handler(at, run), make_delivery())

    undo, tell = outcome.result["always"]
    assert undo["state"] == "skipped"
    assert undo["reason"] == "step two did not run, and this one reads its value"
    assert tell["output"][0]["text"] == "never begun\n"
    assert outcome.reason == "step one: exit code 1"


def test_what_cannot_run_is_found_before_anything_has_begun(at, snapshot):
    run = snapshot.steps()
    run["always"][0]["command"] = ["/no/such/program"]

    outcome = attempt(make_delivery(), handler(at, run), QUICK)

    assert isinstance(outcome, DeadLetter)
    assert outcome.reason.startswith("step destroy: command '/no/such/program' cannot run")
    assert snapshot.calls == []


def test_the_plan_shows_all_steps_and_runs_nothing(at, snapshot):
    run = snapshot.steps(nodes="n[1-2]")
    run["steps"][1]["command"] = ["echo", "{{ steps.snapshot.output }}"]

    plan = handler(at, run).plan(make_delivery())

    assert plan["steps"][1] == {
        "name": "work",
        "command": ["echo", "{{ steps.snapshot.output }}"],
        "nodes": "n[1-2]",
        "timeout": "1m",
    }
    assert [each["name"] for each in plan["always"]] == ["destroy"]
    assert snapshot.calls == []
    assert at.all() == []


HOSTILE = [
    *("; touch {bait}", "$(touch {bait})", "`touch {bait}`", "'; touch {bait}; '", "a\nb", "", "%h %s", "../../etc/x"),
    *("-rf", "--help", "@all", "*", "n1,@x", "n[1-2]", "{{ data }}", "{% raw %}", "\udce4\udcf6", "x" * 40000),
]


@pytest.mark.parametrize("nodes", [None, "n[1-2]"])
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_a_word_or_an_error(at, tmp_path, value, nodes):
    bait = tmp_path / "bait"
    value = value.format(bait=bait) if "{bait}" in value else value
    where = {"nodes": nodes} if nodes else {}
    source = tmp_path / "value"
    source.write_bytes(value.encode("utf-8", "surrogateescape"))
    show = 'for each do printf "<%s>" "$each"; done; printf "<%s>" "$OWN"'
    run = {
        "steps": [
            {"name": "say", "command": ["cat", str(source)], **where},
            {"name": "take", "command": ["sh", "-c", show, "sh", "{{ steps.say.output }}", "x{{ data.hostile }}"],
             "environment": {"OWN": "{{ steps.say.output }}"}, **where},
        ],
        "always": [{"name": "undo", "command": ["echo", "{{ steps.take.state }}"]}],
    }  # fmt: skip
    hostile = "" if "\udce4" in value else value

    outcome = through(handler(at, run), make_delivery(make_event(hostile=hostile)))

    assert not bait.exists()
    assert states(outcome.result)["undo"] == "done"
    if isinstance(outcome, Done):
        assert outcome.result["steps"][1]["output"][0]["text"] == f"<{value}><x{hostile}><{value}>"
        assert not value.startswith("-")
    else:
        assert isinstance(outcome, DeadLetter)
        assert value.startswith("-") or "\udce4" in value or len(value) > 30000


@pytest.mark.parametrize("value", [each for each in HOSTILE if "x" * 9 not in each])
def test_an_output_never_names_a_group_or_an_option_as_a_node(at, tmp_path, value):
    bait = tmp_path / "bait"
    source = tmp_path / "value"
    text = value.format(bait=bait) if "{bait}" in value else value
    source.write_bytes(text.encode("utf-8", "surrogateescape"))
    run = {
        "steps": [
            {"name": "say", "command": ["cat", str(source)]},
            {"name": "take", "command": sh("echo $CLUSTERBUS_NODE_NAME"), "nodes": "{{ steps.say.output }}"},
        ]
    }

    outcome = through(handler(at, run), make_delivery())

    assert not bait.exists()
    if value == "n[1-2]":
        assert outcome.result["steps"][1]["nodes"] == {"succeeded": "n[1-2]", "failed": ""}
    else:
        assert isinstance(outcome, DeadLetter)
        assert states(outcome.result)["take"] == "failed"


def an_action(steps, always=()):
    return Action.model_validate(
        {
            "name": "act",
            "purpose": "Act.",
            "class": "change",
            "parameters": {"fs": {"type": "name", "from": "data.fsName"}},
            "run": {"steps": steps, "always": list(always)},
        }
    )


def test_the_steps_of_an_action_read_its_parameters(at):
    word = "{{ parameters.fs }} {{ steps.one.output }}"
    steps = [
        {"name": "one", "command": ["echo", "{{ parameters.fs }}-1"]},
        {"name": "two", "command": ["echo", word], "environment": {"X": "{{ parameters.fs }}"}, "nodes": "n1"},
    ]
    wanted = an_action(steps)
    settings = Settings.model_validate({"consumers": {"jobs": at.path, "transport": "local"}})
    verb = BoundAction.model_validate({"name": "act", "definition": wanted})

    outcome = through(verb.handler(Surroundings("a", settings=settings)), make_delivery())

    assert [*definition_checks.check(wanted)] == []
    assert outcome.result["steps"][1]["output"][0]["text"] == "gpfs1 gpfs1-1\n"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("{{ parameters.other }}", "no parameter other"),
        ("{{ data.fsName }}", "an action reads parameters only"),
        ("{{ steps.later.output }} {{ parameters.fs }}", "no step later comes before this; these do: one"),
        ("{{ steps.one.output | sort }} {{ parameters.fs }}", "the value is a list"),
    ],
)
def test_what_is_wrong_with_the_steps_of_an_action_is_told(word, told):
    wanted = an_action(
        [{"name": "one", "command": ["echo", "{{ parameters.fs }}"]}], [{"name": "two", "command": ["echo", word]}]
    )

    (found,) = definition_checks.check(wanted)

    assert found.place == ("run", "always", 0, "command", 1)
    assert told in found.message


def test_the_nodes_of_all_steps_count_for_limits(at):
    run = {
        "steps": [
            {"name": "one", "command": ["echo"], "nodes": "n[1-2]"},
            {"name": "two", "command": ["echo"], "nodes": "{{ steps.one.succeeded }}"},
        ],
        "always": [{"name": "three", "command": ["echo"], "nodes": "n[2-3]"}],
    }

    assert handler(at, run).nodes(make_delivery()) == ["n1", "n2", "n3"]
