"""What a function does to its consumer: nothing, in a thread or in a process of its own."""

import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.deliveries import DeadLetter, Done, Retry
from consumers.policies.retry import attempt
from consumers.subscriptions.validation import load
from consumers.verbs.call.verb import CallVerb
from consumers.verbs.interface import Surroundings
from router.model.catalogue import Catalogues
from router.settings.models import ConsumersSettings, Settings
from tests.consuming import QUICK, is_gone, make_delivery, make_event
from tests.waiting import wait_for

FUNCTIONS = """
import ctypes, os, signal, subprocess, sys, threading, time
from consumers import Rejected, Report

def value(fsName, event, fold, attempt): return [fsName, event.id, fold.count, attempt]
def leaving(): sys.exit(3)
def interrupting(): raise KeyboardInterrupt
def raising(): raise OSError("disk on fire")
def rejecting(): raise Rejected("no such fileset")
def rejecting_with_result(): raise Rejected("no such fileset", {"ticket": 7})
def printing():
    print("to stdout"); print("to stderr", file=sys.stderr); os.write(1, b"raw\\n")
    return 1
def reading(): return sys.stdin.read()
def reporting(): return Report("exit:64", "in vain", {"n": 1})
def leaving_a_thread(): threading.Thread(target=GO.wait, args=(600,), name="left behind", daemon=False).start()
def exiting(): os._exit(0)
def exiting_badly(): os._exit(7)
def crashing(): ctypes.string_at(0)
def aborting(): os.abort()
def eating(): return len(bytearray(600 * 2**20))
def hanging(): time.sleep(600)
def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
def much(): print("x" * 1_000_000)
def forking():
    os.fork()
    return os.getpid()
def bombing(path):
    for _ in range(20):
        child = subprocess.Popen([sys.executable, "-IS", "-c", "import time; time.sleep(600)"], start_new_session=True)
        with open(path, "a") as file:
            file.write(f"{child.pid}\\n")
def closing(): os.closerange(3, 256)
def environment(): return [sorted(n for n in os.environ if n.startswith(("CLUSTERBUS", "PYTHONPATH"))), os.getpid()]
GO = threading.Event()
"""


@pytest.fixture(autouse=True)
def functions(tmp_path, monkeypatch):
    """A module `site_acts` in a folder of the settings."""
    (tmp_path / "site_acts.py").write_text(FUNCTIONS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "site_acts", raising=False)
    return tmp_path


@pytest.fixture
def call(functions):
    """A function that returns the outcome of one attempt."""

    def called(name, *, stopping=None, fields=(), event=None, **options):
        verb = CallVerb.model_validate({"function": f"site_acts:{name}", **options})
        settings = Settings(consumers=ConsumersSettings(handlers=(functions,)))
        handler = verb.handler(Surroundings("a", stopping or threading.Event(), settings))
        event = event or make_event()
        delivery = make_delivery(event, **dict(fields))
        return attempt(delivery, handler, QUICK)

    return called


@pytest.fixture
def isolated(call):
    """The same, in a process of its own."""
    return lambda name, **options: call(name, isolate=True, **options)


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("isolate", [False, True])
def test_a_function_gets_its_arguments_and_its_value_is_kept(call, isolate):
    event = make_event()

    outcome = call("value", isolate=isolate, event=event, fields={"attempt": 2})

    assert isinstance(outcome, Done)
    assert outcome.result["value"] == ["gpfs1", event.id, 1, 2]


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize(
    ("name", "reason"),
    [("leaving", "SystemExit: 3"), ("interrupting", "KeyboardInterrupt"), ("raising", "OSError: disk on fire")],
)
def test_what_a_function_raises_is_a_failure(call, isolate, name, reason):
    outcome = call(name, isolate=isolate)

    assert isinstance(outcome, Retry)
    assert outcome.reason == reason
    assert f"in {name}" in outcome.result["trace"]


@pytest.mark.parametrize("isolate", [False, True])
def test_rejections_and_reports_come_through(call, isolate):
    rejected, reported = call("rejecting", isolate=isolate), call("reporting", isolate=isolate)

    assert rejected == DeadLetter("no such fileset")
    assert isinstance(reported, Retry)
    assert (reported.reason, reported.result["n"]) == ("in vain", 1)


def test_a_thread_that_is_left_behind_holds_nothing_up(call):
    outcome = call("leaving_a_thread")
    runs_still = any(each.name == "left behind" for each in threading.enumerate())
    sys.modules["site_acts"].GO.set()

    assert isinstance(outcome, Done)
    assert runs_still


def test_what_is_printed_in_a_thread_does_no_harm(call, capfd):
    assert call("printing") == Done({"value": 1})
    assert "to stdout" in capfd.readouterr().out


def test_what_an_isolated_function_prints_is_kept_apart_and_bounded(isolated, capfd):
    printed, much = isolated("printing"), isolated("much")

    assert printed.result["value"] == 1
    assert sorted(printed.result["output"].splitlines()) == ["raw", "to stderr", "to stdout"]
    assert (len(much.result["output"]), much.result["octets"]) == (65536, 1_000_001)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("exiting", "the function's process ended with exit code 0, without an outcome"),
        ("exiting_badly", "the function's process ended with exit code 7, without an outcome"),
        ("crashing", "the function's process was ended by signal 11, without an outcome"),
        ("aborting", "the function's process was ended by signal 6, without an outcome"),
        ("closing", "the function's process ended with exit code "),
    ],
)
def test_an_isolated_function_that_ends_its_process_has_an_outcome(isolated, name, reason):
    outcome = isolated(name)

    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith(reason)


def test_memory_is_bounded(isolated):
    bounded, free = isolated("eating", memory="512MiB"), isolated("eating")

    assert isinstance(bounded, Retry)
    assert bounded.reason == "MemoryError"
    assert free.result["value"] == 600 * 2**20


def test_time_is_bounded(isolated):
    began = time.monotonic()

    outcome = isolated("hanging", timeout=timedelta(seconds=1))

    assert isinstance(outcome, Retry)
    assert outcome.reason == "did not finish within 1s: killed"
    assert time.monotonic() - began < 60


def test_a_stop_breaks_it_off_without_an_outcome(isolated):
    stopping = threading.Event()
    threading.Timer(0.5, stopping.set).start()
    began = time.monotonic()

    assert isolated("hanging", stopping=stopping) is None

    assert time.monotonic() - began < 60


def test_a_function_that_forks_is_still_one_call(isolated):
    outcome = isolated("forking")

    assert isinstance(outcome, Done)
    assert isinstance(outcome.result["value"], int)


def test_what_a_function_started_is_ended_with_it(isolated, tmp_path):
    outcome = isolated("bombing", **{"with": {"path": str(tmp_path / "pids")}})

    assert isinstance(outcome, Done)
    assert outcome.result["left_behind"] == 20
    for pid in (tmp_path / "pids").read_text().split():
        wait_for(lambda pid=pid: is_gone(pid), 5, f"the end of {pid}")


def test_an_isolated_function_has_no_input_and_none_of_our_settings(isolated, monkeypatch):
    monkeypatch.setenv("CLUSTERBUS_BROKER", "amqp://user:secret@host/")

    names, pid = isolated("environment").result["value"]

    assert names == ["CLUSTERBUS_DELIVERY"]
    assert pid != os.getpid()
    assert isolated("reading").result["value"] == ""


def test_hostile_values_come_through_isolation_as_they_are(isolated, functions):
    value = "'; rm -rf / $(id) `id` \n\0 {{ data }} \U0001f600" + "x" * 200_000
    (functions / "site_acts.py").write_text("def length(fsName): return [len(fsName), fsName[:40]]\n")

    outcome = isolated("length", event=make_event(fsName=value))

    assert outcome.result["value"] == [len(value), value[:40]]


def test_nothing_of_isolated_calls_is_left(isolated):
    isolated("value")
    before = descriptors(), threading.active_count()

    for name in ("value", "exiting", "raising"):
        isolated(name)

    assert (descriptors(), threading.active_count()) == before


def test_what_a_killed_consumer_left_running_is_ended_before_it_is_called_again(isolated, functions):
    event = make_event()
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[3]);"
        "from consumers.deliveries import Delivery; from consumers.verbs import Surroundings;"
        "from consumers.verbs.call.verb import CallVerb; from router.model.events import Event;"
        "from router.settings.models import *; from pathlib import Path;"
        "event = Event.from_json(sys.argv[1].encode());"
        "settings = Settings(consumers=ConsumersSettings(handlers=(Path(sys.argv[2]),)));"
        "h = CallVerb(function='site_acts:deaf', isolate=True).handler(Surroundings('a', settings=settings));"
        "h(Delivery(event, 'a', event.topic, event.to_json()))"
    )
    root = str(Path(__file__).parents[2])
    words = [sys.executable, "-c", code, event.to_json().decode(), str(functions), root]
    consumer = os.spawnv(os.P_NOWAIT, sys.executable, words)
    mark = f"CLUSTERBUS_DELIVERY={event.id}.a.-.1".encode()

    def marked():
        found = []
        for each in Path("/proc").iterdir():
            if each.name.isdigit() and not is_gone(each.name):
                try:
                    found += [each.name] if mark in (each / "environ").read_bytes() else []
                except OSError:
                    continue
        return found

    (left,) = wait_for(marked, 20, "the isolated call")
    os.kill(consumer, signal.SIGKILL)
    os.waitpid(consumer, 0)

    outcome = isolated("value", event=event, fields={"repeated": True})

    assert isinstance(outcome, Done)
    assert is_gone(left)


def test_an_isolated_call_runs_the_text_that_was_checked(tmp_path):
    file = tmp_path / "on_quota.py"
    file.write_text('from consumers import on\n\n@on("quota", isolate=True)\ndef told():\n    return [__file__, 1]\n')
    (found,) = load(file, Catalogues.shipped()).subscriptions
    handler = found.verb.handler(Surroundings("told"))
    event = make_event()

    file.write_text("raise OSError\n")
    report = handler(make_delivery(event, "told"))

    assert report.result["value"] == [str(file), 1]


@pytest.mark.parametrize("isolate", [False, True])
def test_what_rejects_keeps_its_result(call, isolate):
    outcome = call("rejecting_with_result", isolate=isolate)

    assert outcome.reason == "no such fileset"
    assert outcome.result["ticket"] == 7
