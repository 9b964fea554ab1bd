"""Folders of programs: what an event starts, what they get, and what becomes of each."""

import json
import os
import shutil
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.config.event_samples import Kinds
from consumers.config.registrations import Registrations
from consumers.deliveries import DeadLetter, Done, Report, Retry
from consumers.policies.retry import RetryPolicy, attempt
from consumers.verbs.interface import Surroundings
from consumers.verbs.scripts.folders import remarks
from consumers.verbs.scripts.verb import ScriptsVerb
from router.model.catalogue import Catalogues
from tests.consuming import QUICK, make_delivery, make_event
from tests.waiting import wait_for

COUNTING = "#!/bin/sh\nprintf x >> {trace}\n"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir(mode=0o755)
    (folder / "handlers.conf").write_text("")
    return folder


def put(folder, name, text, patterns="quota", mode=0o755):
    """Put a program into the folder and its line into the map."""
    (folder / name).write_text(text)
    (folder / name).chmod(mode)
    with (folder / "handlers.conf").open("a") as conf:
        conf.write(f"{name} = {patterns}\n")


def run(*folders, event=None, stopping=None, policy=QUICK, earlier=None, number=1, **fields):
    verb = ScriptsVerb(folders=folders, timeout=fields.pop("timeout", timedelta(seconds=20)), **fields)
    delivery = make_delivery(event, attempt=number, earlier=earlier or {})
    return attempt(delivery, verb.handler(Surroundings("a", stopping or threading.Event())), policy)


def plan(folder, earlier=None):
    handler = ScriptsVerb(folders=(folder,)).handler(Surroundings("a"))
    return handler.plan(make_delivery(earlier=earlier or {}))


def test_each_kind_of_program_gets_the_event_and_its_variables(folder):
    put(
        folder,
        "a.py",
        "import os, sys\nprint(sys.stdin.read() + os.environ['CLUSTERBUS_VAR_fsName'], end='')",
        mode=0o644,
    )
    put(folder, "b.pl", "local $/; print <STDIN>, $ENV{'CLUSTERBUS_VAR_fsName'};", mode=0o644)
    put(folder, "c", '#!/bin/sh\ncat; printf %s "$CLUSTERBUS_VAR_fsName"\n')
    event = make_event(fsName="'; touch /tmp/x $(id)")

    outcome = run(folder, event=event)

    assert isinstance(outcome, Done)
    assert outcome.result["matched"] == ["a.py", "b.pl", "c"]
    for each in outcome.result["handlers"].values():
        assert each["output"] == event.to_json().decode() + event.data["fsName"]


def test_the_environment_is_ours_alone(folder, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    put(folder, "a.py", "import os, json; print(json.dumps(dict(os.environ)))")

    outcome = run(folder, environment={"MINE": "{{ data.fsName }}"})

    environment = json.loads(outcome.result["handlers"]["a.py"]["output"])
    assert environment["MINE"] == "gpfs1"
    assert environment["CLUSTERBUS_SCRIPT"] == str(folder / "a.py")
    assert environment["CLUSTERBUS_SUBSCRIPTION"] == "a"
    assert "SECRET" not in environment


def test_only_what_is_mapped_to_the_event_runs(folder):
    put(folder, "disk", COUNTING.format(trace=folder / "disk.trace"), "disk")
    put(folder, "topic", COUNTING.format(trace=folder / "topic.trace"), "disk gpfs.prod.quota.#")

    outcome = run(folder)

    assert outcome.result["matched"] == ["topic"]
    assert not (folder / "disk.trace").exists()
    assert (folder / "topic.trace").exists()


def test_where_nothing_is_mapped_it_is_done(folder):
    assert run(folder) == Done({"matched": []})


def test_all_run_and_a_retry_runs_only_those_that_failed(folder):
    put(folder, "one", COUNTING.format(trace=folder / "one.trace"))
    put(folder, "two", COUNTING.format(trace=folder / "two.trace") + "echo sorry; exit 3\n")
    put(folder, "three", COUNTING.format(trace=folder / "three.trace"))

    first = run(folder)
    second = run(folder, earlier=first.result, number=2)
    (folder / "two").write_text(COUNTING.format(trace=folder / "two.trace"))
    third = run(folder, earlier=second.result, number=3)

    assert isinstance(first, Retry)
    assert first.reason == "two: exit code 3: sorry"
    assert {name: each["outcome"] for name, each in first.result["handlers"].items()} == {
        "one": "done",
        "two": "failed",
        "three": "done",
    }
    assert isinstance(second, Retry)
    assert isinstance(third, Done)
    assert [(folder / f"{name}.trace").read_text() for name in ("one", "two", "three")] == ["x", "xxx", "x"]


def test_a_policy_gives_up_for_a_word_only_where_all_that_failed_said_it(folder):
    policy = RetryPolicy(attempts=3, never_for=("exit:64",))
    put(folder, "one", "#!/bin/sh\nexit 64\n")

    alone = run(folder, policy=policy)
    put(folder, "two", "#!/bin/sh\nexit 1\n")
    both = run(folder, policy=policy)

    assert isinstance(alone, DeadLetter)
    assert isinstance(both, Retry)


def test_two_folders_are_served_as_one(folder, tmp_path):
    other = tmp_path / "more"
    other.mkdir(mode=0o755)
    (other / "handlers.conf").write_text("")
    put(folder, "one", "#!/bin/sh\n")
    put(other, "two", "#!/bin/sh\n")

    assert run(folder, other).result["matched"] == ["one", "two"]

    put(other, "one", "#!/bin/sh\n")
    clash = run(folder, other)

    assert isinstance(clash, Retry)
    assert {name: each["outcome"] for name, each in clash.result["handlers"].items()} == {"one": "done", "two": "done"}
    assert "one is also in" in clash.reason


@pytest.mark.parametrize(
    ("swap", "reason"),
    [
        (lambda file: file.chmod(0o777), "is writable by other users"),
        (lambda file: file.parent.chmod(0o777), "is writable by other users"),
        (lambda file: (file.unlink(), file.symlink_to("/bin/true")), "is a link out of its folder, to /bin/true"),
        (lambda file: file.unlink(), "does not exist"),
        (lambda file: (file.unlink(), os.mkfifo(file)), "is not a regular file"),
        (lambda file: file.write_text("#!/no/such/program\n"), "which does not exist on this machine"),
    ],
)
def test_a_program_that_was_swapped_since_it_was_checked_is_not_run(folder, swap, reason):
    put(folder, "one", COUNTING.format(trace=folder / "trace"))
    put(folder, "two", COUNTING.format(trace=folder / "trace"))
    verb = ScriptsVerb(folders=(folder,))
    handler = verb.handler(Surroundings("a"))
    event = make_event()
    delivery = make_delivery(event)
    assert isinstance(attempt(delivery, handler, QUICK), Done)

    swap(folder / "two")
    outcome = attempt(delivery, handler, QUICK)

    assert reason in outcome.reason
    # A folder may be corrected, like its map.  A program that must not run is given up, and the other one runs.
    is_folder = "folder" in outcome.reason.split(" ")[1:2]
    assert isinstance(outcome, Retry if is_folder else DeadLetter)
    assert (folder / "trace").read_text() == ("xx" if is_folder else "xxx")


BROKEN = {
    "CRLF": "#!/bin/sh\r\ntouch x\r\n",
    "env without a program": "#!/usr/bin/env nosuch\n",
    "env with options": "#!/usr/bin/env sh -e\n",
    "no interpreter": "#!/no/such/sh\n",
    "BOM": "\ufeff#!/bin/sh\n",
    "empty": "",
    "plain text": "echo\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_one_program_that_cannot_start_keeps_no_other_from_running(folder, broken):
    put(folder, "one", COUNTING.format(trace=folder / "trace"))
    put(folder, "two", broken)
    put(folder, "three", COUNTING.format(trace=folder / "trace"))

    outcome = run(folder)

    assert isinstance(outcome, DeadLetter)
    assert "two" in outcome.reason
    assert {name: each["outcome"] for name, each in outcome.result["handlers"].items()} == {
        "one": "done",
        "two": "failed",
        "three": "done",
    }
    assert (folder / "trace").read_text() == "xx"


def test_a_first_line_of_env_that_only_the_start_can_judge_warns_and_runs(folder, tmp_path):
    newer = tmp_path / "env"
    newer.write_text("#!/bin/sh\nprintf started")
    newer.chmod(0o755)
    put(folder, "a", f"#!{newer} --of-tomorrow sh\n")
    put(folder, "b", "#!/usr/bin/env -iS /bin/sh\nprintf started")
    put(folder, "c", "#!/usr/bin/env -S sh\\_-e\nprintf started")

    outcome = run(folder)
    said = list(remarks([folder], Kinds(Registrations(Catalogues.shipped()))))

    assert isinstance(outcome, Done), outcome
    assert [each["output"] for each in outcome.result["handlers"].values()] == ["started"] * 3
    assert [(each.warning, each.fault) for each in said] == [(True, False)]
    assert "has no option '--of-tomorrow sh'" in said[0].message


def test_what_is_refused_waits_for_the_retries_of_what_failed(folder):
    put(folder, "one", "#!/bin/sh\nexit 3\n")
    put(folder, "two", "#!/no/such/sh\n")

    first = run(folder)
    (folder / "one").write_text("#!/bin/sh\n")
    second = run(folder, earlier=first.result, number=2)
    (folder / "two").write_text("#!/bin/sh\n")
    third = run(folder, earlier=second.result, number=3)

    assert isinstance(first, Retry)
    assert isinstance(second, DeadLetter)
    assert isinstance(third, Done)


def test_a_line_that_cannot_be_read_keeps_no_other_line_from_running(folder):
    put(folder, "one", COUNTING.format(trace=folder / "trace"))
    put(folder, "two", COUNTING.format(trace=folder / "trace"), "quotaa")

    first = run(folder)
    second = run(folder, earlier=first.result, number=2)

    assert isinstance(second, Retry)
    assert "no event type, category or pattern 'quotaa'" in second.reason
    assert (folder / "trace").read_text() == "x"


def test_a_map_with_a_byte_order_mark_is_read(folder):
    put(folder, "one", COUNTING.format(trace=folder / "trace"))
    conf = folder / "handlers.conf"
    conf.write_bytes(b"\xef\xbb\xbf" + conf.read_bytes().replace(b"\n", b"\r\n"))

    assert run(folder).result["matched"] == ["one"]


def test_a_compiled_program_runs(folder):
    shutil.copy("/bin/true", folder / "compiled")
    with (folder / "handlers.conf").open("a") as conf:
        conf.write("compiled = quota\n")

    assert isinstance(run(folder), Done)


def test_a_swap_between_two_programs_of_one_delivery_is_noticed(folder):
    put(folder, "one", f"#!/bin/sh\nchmod 777 {folder}/two\n")
    put(folder, "two", COUNTING.format(trace=folder / "trace"))

    outcome = run(folder)

    assert isinstance(outcome, DeadLetter)
    assert "two is writable by other users" in outcome.reason
    assert not (folder / "trace").exists()


def test_a_map_that_cannot_be_read_fails_and_keeps_what_was_done(folder):
    put(folder, "one", COUNTING.format(trace=folder / "one.trace"))
    put(folder, "two", "#!/bin/sh\nexit 1\n")
    first = run(folder)
    conf = (folder / "handlers.conf").read_text()

    (folder / "handlers.conf").write_text("one quota\n")
    second = run(folder, earlier=first.result)
    (folder / "handlers.conf").write_text(conf)
    third = run(folder, earlier=second.result)

    assert isinstance(second, Retry)
    assert "handlers.conf:1: 'one quota' is not `file = pattern`" in second.reason
    assert third.result["matched"] == ["one", "two"]
    assert (folder / "one.trace").read_text() == "x"


def test_a_program_that_hangs_is_ended_and_the_others_run(folder):
    put(folder, "one", "#!/bin/sh\nsleep 600\n")
    put(folder, "two", "#!/bin/sh\n")

    outcome = run(folder, timeout=timedelta(seconds=3))

    assert isinstance(outcome, Retry)
    assert outcome.reason == "one: did not finish within 3s: killed"
    assert outcome.result["handlers"]["two"]["outcome"] == "done"


def test_a_stop_keeps_what_was_done(folder):
    put(folder, "one", COUNTING.format(trace=folder / "trace"))
    put(folder, "two", f"#!/bin/sh\ntouch {folder}/begun\nsleep 600\n")
    stopping = threading.Event()
    event = make_event()
    handler = ScriptsVerb(folders=(folder,)).handler(Surroundings("a", stopping))
    reports = []
    delivery = make_delivery(event)
    thread = threading.Thread(target=lambda: reports.append(handler(delivery)))
    thread.start()
    wait_for((folder / "begun").exists, 10, "the second program")
    began = time.monotonic()

    stopping.set()
    thread.join(120)

    (report,) = reports
    assert time.monotonic() - began < 60
    assert isinstance(report, Report)
    assert report.again
    assert list(report.result["handlers"]) == ["one"]


def test_the_plan_is_what_would_be_run(folder):
    put(folder, "a.py", COUNTING.format(trace=folder / "trace"))
    put(folder, "b", COUNTING.format(trace=folder / "trace"))

    whole, rest = plan(folder), plan(folder, {"handlers": {"b": {"outcome": "done"}}})

    files = [str(folder / "a.py"), str(folder / "b")]
    assert whole["scripts"][0] == {"file": files[0], "command": [sys.executable, "-I", files[0]]}
    assert [each["file"] for each in whole["scripts"]] == files
    assert [each["file"] for each in rest["scripts"]] == files[:1]
    assert not (folder / "trace").exists()


def test_nothing_is_left_open(folder):
    put(folder, "one", "#!/bin/sh\n")
    run(folder)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(3):
        run(folder)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
