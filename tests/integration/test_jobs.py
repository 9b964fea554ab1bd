"""Jobs with their real wrappers: begun once, bounded, found again, cancelled, and worked from the command line."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.deliveries import DeadLetter, Done, Retry, Waiting
from consumers.policies.retry import attempt
from consumers.processes import cleanup
from consumers.processes.job_files import RESULT, STATE, Job, Jobs
from consumers.processes.job_runner import id_of
from consumers.verbs.interface import Surroundings
from consumers.verbs.run.verb import RunVerb
from router.settings.models import Settings
from tests.consuming import QUICK, is_gone, make_delivery, make_event, text_of
from tests.waiting import wait_for


@pytest.fixture
def at(tmp_path, monkeypatch):
    """The folder of jobs; the handlers of this module wait for a moment only, instead of two seconds."""
    monkeypatch.setattr("consumers.verbs.run.detached.AT_FIRST", timedelta(seconds=0.3))
    jobs = Jobs(tmp_path / "jobs")
    yield jobs
    for job in jobs.all():
        if begun := job.read(STATE):
            if cleanup.is_alive(begun["owner"]):
                os.kill(begun["pid"], signal.SIGKILL)
            cleanup.end(job.read("request.json")["mark"])


def handler(at, code, *, stopping=None, **fields):
    settings = Settings.model_validate({"consumers": {"jobs": at.path, "transport": "local"}})
    verb = RunVerb.model_validate({"command": ["sh", "-c", code], "timeout": "20s", "detach": True, **fields})
    return verb.handler(Surroundings("a", stopping or threading.Event(), settings))


def through(function, owed, seconds=20):
    """Return the outcome once it is one, calling again as the engine would."""
    return wait_for(
        lambda: None if isinstance(found := attempt(owed, function, QUICK), Waiting) else found, seconds, "an outcome"
    )


def clusterbus(at, *words):
    return CliRunner().invoke(app, ["jobs", *words], env={"CLUSTERBUS_CONSUMERS_JOBS": str(at.path)})


def test_a_quick_job_is_done_at_the_first_call(at):
    outcome = attempt(make_delivery(), handler(at, "cat; echo oops >&2"), QUICK)

    assert isinstance(outcome, Done)
    assert json.loads(text_of(outcome))["type"] == "gpfs.softQuotaExceeded"
    assert text_of(outcome, "errors") == "oops\n"
    assert outcome.result["job"] == at.all()[0].id


def test_a_long_one_is_asked_for_again_and_begun_once_whoever_asks(at, tmp_path):
    ran, go = tmp_path / "ran", tmp_path / "go"
    code = f"echo x >> {ran}; while [ ! -e {go} ]; do sleep 0.02; done; exit 3"
    owed = make_delivery()

    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(lambda _: attempt(owed, handler(at, code), QUICK), range(4)))
    go.touch()
    outcome = through(handler(at, code), owed)

    assert all(isinstance(each, Waiting) for each in first)
    assert timedelta(seconds=1) <= first[0].delay <= timedelta(minutes=1)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "exit code 3"
    assert ran.read_text() == "x\n"
    assert attempt(owed, handler(at, code), QUICK) == outcome


def test_a_retry_is_a_new_job(at, tmp_path):
    ran = tmp_path / "ran"
    event = make_event()

    for number in (1, 2):
        through(handler(at, f"echo x >> {ran}; exit 1"), make_delivery(event, attempt=number))

    assert ran.read_text() == "x\nx\n"
    assert len(at.all()) == 2


def test_time_that_is_up_ends_all_that_a_job_started(at, tmp_path, monkeypatch):
    monkeypatch.setattr("consumers.verbs.run.local.GRACE", timedelta(seconds=0.3))
    pids = tmp_path / "pids"
    code = f"setsid sleep 41 & echo $! $$ > {pids}; trap '' TERM; while :; do sleep 0.1; done"
    function = handler(at, code, timeout="0.5s")
    owed = make_delivery()
    attempt(owed, function, QUICK)
    assert not is_gone(int(wait_for(lambda: pids.exists() and pids.read_text(), 10, "the command").split()[0]))

    outcome = through(function, owed)

    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("did not finish within 0.5s")
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())


def test_what_a_job_says_is_bounded(at):
    outcome = through(
        handler(at, "head -c 50000000 /dev/zero; head -c 9000 /dev/zero >&2", output=1024), make_delivery()
    )

    (job,) = at.all()
    assert [outcome.result[each][0]["octets"] for each in ("output", "errors")] == [50_000_000, 9_000]
    assert [(job.path / name).stat().st_size for name in ("out", "err")] == [1024, 1024]


def test_a_killed_wrapper_is_a_lost_job_whose_command_is_ended(at, tmp_path):
    pids = tmp_path / "pids"
    function, owed = handler(at, f"echo $$ > {pids}; sleep 42"), make_delivery()
    attempt(owed, function, QUICK)
    (job,) = at.all()
    pid = int(wait_for(lambda: pids.exists() and pids.read_text(), 10, "the command"))
    os.kill(job.read(STATE)["pid"], signal.SIGKILL)

    outcome = through(function, owed)

    assert isinstance(outcome, Retry)
    assert outcome.reason == f"job {job.id} is lost: its wrapper was killed"
    assert is_gone(pid)
    assert job.read(RESULT)["ended"] == "lost"


def test_a_job_whose_consumer_died_before_its_wrapper_was_there_is_begun_by_the_next(at, monkeypatch):
    def dies(_):
        raise SystemExit

    owed = make_delivery()
    with monkeypatch.context() as patch:
        patch.setattr("consumers.processes.job_runner.start", dies)
        attempt(owed, handler(at, "echo hi"), QUICK)
    assert at.all()[0].state() == "starting"

    assert text_of(through(handler(at, "echo hi"), owed)) == "hi\n"


def test_a_stop_leaves_the_job_and_has_no_outcome(at, tmp_path):
    go, stopping = tmp_path / "go", threading.Event()
    code, owed = f"while [ ! -e {go} ]; do sleep 0.02; done", make_delivery()
    stopping.set()

    assert attempt(owed, handler(at, code, stopping=stopping), QUICK) is None
    go.touch()
    assert isinstance(through(handler(at, code), owed), Done)


def test_what_cannot_be_run_is_dead_at_once(at):
    settings = Settings.model_validate({"consumers": {"jobs": at.path}})
    verb = RunVerb(command=("/no/such/program",), detach=True)

    outcome = attempt(make_delivery(), verb.handler(Surroundings("a", settings=settings)), QUICK)

    assert isinstance(outcome, DeadLetter)
    assert "cannot run: No such file" in outcome.reason


def test_a_reader_sees_a_result_whole_or_none(at, tmp_path):
    owed = make_delivery()
    path = at.path / id_of(owed.mark) / RESULT
    seen = []

    def read():
        deadline = time.monotonic() + 120
        while not seen and time.monotonic() < deadline:
            if path.exists():
                seen.append(json.loads(path.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    through(handler(at, "sleep 0.2"), owed)
    reader.join(120)

    assert [each["ended"] for each in seen] == ["finished"]


def test_a_fan_out_as_a_job_is_retried_where_it_failed_only(at):
    event = make_event(upNodes="n1,n2,n3")
    function = handler(at, "echo hi; test $CLUSTERBUS_NODE_NAME != n2", nodes="{{ data.upNodes }}")

    first = through(function, make_delivery(event))
    second = through(function, make_delivery(event, attempt=2, earlier=first.result))

    assert first.result["nodes"] == {"succeeded": "n[1,3]", "failed": "n2"}
    assert [each.read("request.json")["about"]["nodes"] for each in at.all()][::-1] == ["n[1-3]", "n2"]
    assert second.result["nodes"] == {"succeeded": "n[1,3]", "failed": "n2"}
    assert "n2: exit code 1" in at.all()[-1].head("err", 1000).decode()


def test_a_lost_fan_out_keeps_what_succeeded_before(at):
    function = handler(at, "sleep 43", nodes="n[1-3]")
    owed = make_delivery(attempt=2, earlier={"nodes": {"succeeded": "n1", "failed": "n[2-3]"}})
    attempt(owed, function, QUICK)
    os.kill(wait_for(lambda: at.all()[0].read(STATE), 10, "a wrapper")["pid"], signal.SIGKILL)

    outcome = through(function, owed)

    assert outcome.result["nodes"] == {"succeeded": "n1", "failed": "n[2-3]"}
    assert cleanup.end(owed.mark) == 0


def test_jobs_are_worked_from_the_command_line(at, tmp_path):
    pids = tmp_path / "pids"
    function, owed = handler(at, f"echo said; echo $$ > {pids}; sleep 44"), make_delivery()
    attempt(owed, function, QUICK)
    attempt(make_delivery(), handler(at, "exit 0"), QUICK)
    attempt(make_delivery(), handler(at, "exit 5"), QUICK)
    name = id_of(owed.mark)
    wait_for(lambda: pids.exists() and pids.read_text(), 10, "the command")

    listed = [json.loads(line) for line in clusterbus(at, "list", "--json").stdout.splitlines()]
    shown = clusterbus(at, "show", name)
    not_in_time = clusterbus(at, "wait", name, "--limit", "300ms")
    cancelled = clusterbus(at, "cancel", name, "--json")
    again = clusterbus(at, "cancel", name)
    waits = [clusterbus(at, "wait", each["id"]).exit_code for each in listed]
    outcome = attempt(owed, function, QUICK)

    assert [(each["state"], each.get("exit")) for each in listed] == [
        ("finished", 5),
        ("finished", 0),
        ("running", None),
    ]
    assert "said" in shown.stdout
    assert (not_in_time.exit_code, "running" in not_in_time.stdout) == (3, True)
    assert (cancelled.exit_code, json.loads(cancelled.stdout)["state"]) == (0, "cancelled")
    assert (again.exit_code, "had already ended" in again.stdout) == (1, True)
    assert waits == [1, 0, 1]
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == f"cancelled by {json.loads(cancelled.stdout)['by']} (job {name})"
    assert is_gone(int(Path(pids).read_text()))
    assert clusterbus(at, "show", "no-such").exit_code == 2


def test_the_wrapper_is_nobodys_child_and_holds_nothing_of_the_consumers(at):
    function, owed = handler(at, "sleep 45"), make_delivery()
    attempt(owed, function, QUICK)
    pid = wait_for(lambda: at.all()[0].read(STATE), 10, "a wrapper")["pid"]

    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    assert parent != os.getpid()
    assert os.getsid(pid) not in (os.getsid(0), pid)
    assert len(list(Path(f"/proc/{pid}/fd").iterdir())) <= 10


def test_a_job_of_an_earlier_release_is_read_as_it_was_written(at):
    owed = make_delivery()
    job = Job(at.path / id_of(owed.mark))
    job.path.mkdir(parents=True, mode=0o700)
    at.path.chmod(0o700)
    about = {"subscription": "a", "event": owed.event.id, "type": owed.event.type, "attempt": 1, "command": ["x"]}
    request = {"words": ["x"], "environment": {}, "mark": owed.mark, "timeout": 20.0, "grace": 5.0, "output": 1024}
    job.write("request.json", {**request, "user": None, "about": about, "asked": "2026-11-20T15:22:07+00:00"})
    job.write(STATE, {"owner": "x:1:1", "host": "hub9", "pid": 1, "begun": "2026-11-20T15:22:07+00:00"})
    (job.path / "out").write_text("said\n")
    (job.path / "err").write_text("oops\n")
    job.write(RESULT, {"ended": "through", "exit": 3, "octets": 10, "seconds": 1.5, "at": "2026-11-20T15:22:09+00:00"})

    outcome = attempt(owed, handler(at, "echo not again"), QUICK)
    shown = [clusterbus(at, *words).stdout for words in (("list",), ("show", job.id), ("show", job.id, "--follow"))]

    assert isinstance(outcome, Retry)
    assert outcome.result == {
        "nodes": {"succeeded": "", "failed": "hub9"},
        "exit": {"3": "hub9"},
        "output": [{"nodes": "hub9", "text": "said\n", "octets": 5}],
        "errors": [{"nodes": "hub9", "text": "oops\n", "octets": 5}],
        "seconds": 1.5,
        "job": job.id,
    }
    assert all("exit code 3" in each for each in (shown[0], shown[2]))
    assert all("said" in each and "oops" in each for each in shown[1:])
