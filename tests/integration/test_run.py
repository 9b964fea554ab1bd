import json
import os
import pwd
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.deliveries import DeadLetter, Done, Retry
from consumers.errors import SubscriptionsError
from consumers.policies.retry import attempt
from consumers.processes import cleanup
from consumers.verbs.interface import Surroundings
from consumers.verbs.run.local import CommandHandler
from consumers.verbs.run.verb import RunVerb
from tests.consuming import QUICK, is_gone, make_delivery, make_event, python, text_of
from tests.waiting import wait_for

HOST = os.uname().nodename


def run(command, event=None, *, delivery=None, timeout=60, **fields):
    """Return the outcome of one attempt to run *command*."""
    verb = RunVerb(command=tuple(command), timeout=timedelta(seconds=timeout), **fields)
    handler = CommandHandler(verb, Surroundings("a"))
    return attempt(delivery or make_delivery(event), handler, QUICK)


def test_the_environment_is_ours_alone(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    event = make_event(wide=["a", "b"], flag=True, odd_nämé="v", zero="a\0b")

    outcome = run(
        python("import os,json; print(json.dumps(dict(os.environ)))"), event, environment={"MINE": "{{ data.fsName }}"}
    )

    environment = json.loads(text_of(outcome))
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment.pop("CLUSTERBUS_DELIVERY").startswith(f"{event.id}.a.-.1")
    assert environment == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/",
        "MINE": "gpfs1",
        "CLUSTERBUS_EVENT_ID": event.id,
        "CLUSTERBUS_TYPE": "gpfs.softQuotaExceeded",
        "CLUSTERBUS_TOPIC": event.topic,
        "CLUSTERBUS_NODE": "nsd01",
        "CLUSTERBUS_CLUSTER": "prod",
        "CLUSTERBUS_SUBSCRIPTION": "a",
        "CLUSTERBUS_ATTEMPT": "1",
        "CLUSTERBUS_VAR_fsName": "gpfs1",
        "CLUSTERBUS_VAR_blockUsage": "1048576",
        "CLUSTERBUS_VAR_wide": '["a", "b"]',
        "CLUSTERBUS_VAR_flag": "true",
        "CLUSTERBUS_VAR_odd_n_m_": "v",
        "CLUSTERBUS_VAR_zero": "ab",
    }


def test_variables_that_are_too_large_are_cut_and_named():
    data = {f"v{number}": "x" * 60_000 for number in range(40)}

    outcome = run(
        python("import os; print(len(os.environ['CLUSTERBUS_VAR_v0']), os.environ['CLUSTERBUS_CUT'])"),
        make_event(**data),
    )

    length, *names = text_of(outcome).split()
    assert length == "32768"
    assert names == [f"v{number}" for number in range(40)]


def test_a_command_runs_in_a_session_and_a_place_of_its_own():
    facts = "os.getcwd(), oct(os.umask(0)), os.getsid(0) == os.getpid(), sorted(os.listdir('/proc/self/fd'))"
    code = f"import os; print({facts})"

    outcome = run(python(code))

    cwd, mask, leads, *descriptors = text_of(outcome).split()
    assert (cwd, mask, leads) == ("/", "0o22", "True")
    assert len(descriptors) == 4  # the three, and the listing's own


@pytest.mark.parametrize("size", [0, 5_000_000])
def test_a_command_that_does_not_read_its_input_is_not_waited_for(size):
    began = time.monotonic()

    outcome = run(["/bin/true"], make_event(big="x" * size))

    assert isinstance(outcome, Done)
    assert time.monotonic() - began < 30  # half of the limit, or of what was left behind


def test_a_command_that_reads_late_gets_all_of_it():
    event = make_event(big="x" * 2_000_000)

    outcome = run(python("import sys,time; time.sleep(0.3); print(len(sys.stdin.read()))"), event)

    assert int(text_of(outcome)) == len(event.to_json())


def test_row_106_a_command_here_is_told_as_one_on_a_node_of_this_name():
    outcome = run(python("import sys; print('out'); print('err', file=sys.stderr)"))

    seconds = outcome.result.pop("seconds")
    assert outcome.result == {
        "nodes": {"succeeded": HOST, "failed": ""},
        "exit": {"0": HOST},
        "output": [{"nodes": HOST, "text": "out\n", "octets": 4}],
        "errors": [{"nodes": HOST, "text": "err\n", "octets": 4}],
    }
    assert 0 < seconds < 60


@pytest.mark.parametrize(
    ("code", "reason", "facts"),
    [
        ("raise SystemExit(3)", "exit code 3", {"exit": {"3": HOST}}),
        (
            "print('first'); print('disk is gone'); raise SystemExit(1)",
            "exit code 1: disk is gone",
            {"exit": {"1": HOST}},
        ),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9", {"signal": {"9": HOST}}),
        ("import os; os._exit(0o144)", "exit code 100", {"exit": {"100": HOST}}),
    ],
)
def test_how_a_command_fails_is_told_and_retried(code, reason, facts):
    outcome = run(python(code))

    assert isinstance(outcome, Retry)
    assert outcome.reason == reason
    assert facts.items() <= outcome.result.items()


@pytest.mark.parametrize("command", [["/no/such/program"], ["no-such-program"], ["/etc/passwd"], ["/etc"]])
def test_what_cannot_be_run_is_dead_at_once(command):
    outcome = run(command)

    assert isinstance(outcome, DeadLetter)
    assert f"command {command[0]!r} cannot run" in outcome.reason


def test_a_template_that_cannot_be_filled_in_is_dead_at_once():
    outcome = run(["/bin/echo", "{{ data.diskName }}"])

    assert isinstance(outcome, DeadLetter)
    assert "diskName" in outcome.reason


def test_a_command_past_its_time_is_ended_with_its_children(tmp_path):
    pids = str(tmp_path / "pids")
    code = f"import os,time; os.fork(); open({pids!r},'a').write(str(os.getpid())+' '); time.sleep(60)"
    began = time.monotonic()

    outcome = run(python(code), timeout=3)

    assert isinstance(outcome, Retry)
    assert outcome.reason == "did not finish within 3s: killed"
    assert time.monotonic() - began < 30  # half of what the command takes
    assert [is_gone(pid) for pid in Path(pids).read_text().split()] == [True, True]


def test_a_command_that_ignores_the_gentle_signal_is_killed(monkeypatch):
    monkeypatch.setattr("consumers.verbs.run.local.GRACE", timedelta(milliseconds=300))
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    began = time.monotonic()

    outcome = run(python(code), timeout=3)

    assert outcome.result["signal"] == {"9": HOST}
    assert outcome.result["timed_out"] == HOST
    assert time.monotonic() - began < 30  # half of what the command takes


def test_a_gigabyte_of_output_costs_no_memory():
    code = "import os\nchunk = b'x' * (1 << 20)\nfor _ in range(1024): os.write(1, chunk)"
    before = _peak()

    outcome = run(python(code), timeout=60)

    assert outcome.result["output"][0]["octets"] == 1 << 30
    assert text_of(outcome) == "x" * 65536
    assert _peak() - before < 64 * 1024


def _peak():
    """Return the most memory that this process has had, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_a_child_left_behind_is_ended_and_does_not_hold_the_command_up(tmp_path):
    pid_file = tmp_path / "pid"
    # In a session of its own, with the command's output still open: nothing but the mark gives it away.
    child = f"import os,time; os.setsid(); open({str(pid_file)!r},'w').write(str(os.getpid())); time.sleep(60)"
    waits = f"while not os.path.exists({str(pid_file)!r}): time.sleep(0.01)"
    code = f"import os,sys,time\nif os.fork()==0:\n exec({child!r})\n{waits}"
    began = time.monotonic()

    outcome = run(python(code))

    assert isinstance(outcome, Done)
    assert outcome.result["left_behind"] == 1
    assert time.monotonic() - began < 30  # half of the limit, or of what was left behind
    wait_for(lambda: is_gone(int(pid_file.read_text())), 5, "the end of the child")


def test_a_child_without_the_mark_in_the_commands_group_is_ended():
    code = "import os\nif os.fork()==0: os.execve('/bin/sleep', ['sleep', '61.5'], {})\n"

    outcome = run(python(code))

    assert outcome.result["left_behind"] == 1


def test_what_a_killed_consumer_left_running_is_ended_before_the_attempt_is_repeated():
    event = make_event()
    delivery = make_delivery(event, repeated=True)
    leftover = os.posix_spawn("/bin/sleep", ["sleep", "62.5"], {cleanup.VARIABLE: delivery.mark})

    outcome = run(["/bin/true"], delivery=delivery)

    assert isinstance(outcome, Done)
    _, status = os.waitpid(leftover, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_a_process_of_another_delivery_is_left_alone():
    event = make_event()
    delivery = make_delivery(event, repeated=True)
    other = os.posix_spawn("/bin/sleep", ["sleep", "63.5"], {cleanup.VARIABLE: delivery.mark + "0"})
    try:
        run(["/bin/true"], delivery=delivery)

        assert os.waitpid(other, os.WNOHANG) == (0, 0)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_command_runs_as_its_user_with_that_users_groups_only():
    nobody = pwd.getpwnam("nobody")

    outcome = run(["/bin/sh", "-c", "id -ru; id -u; id -g; id -G"], user="nobody")

    real, effective, group, *groups = map(int, text_of(outcome).split())
    assert (real, effective, group) == (nobody.pw_uid, nobody.pw_uid, nobody.pw_gid)
    assert 0 not in groups


def test_a_user_that_is_not_there_is_told_with_its_place():
    verb = RunVerb.model_construct(
        command=("/bin/true",), user="no-such-user", environment={}, timeout=timedelta(1), output=1
    )

    with pytest.raises(SubscriptionsError, match=r"file.yaml:7: a: run.user: there is no user 'no-such-user'"):
        CommandHandler(verb, Surroundings("a", file="file.yaml", line=7))


def test_an_owner_lives_as_long_as_its_process():
    own = cleanup.owner()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "64.5"], {})
    other = own.replace(f":{os.getpid()}:", f":{pid}:").rpartition(":")[0] + ":" + cleanup._started(pid)
    alive = cleanup.is_alive(own), cleanup.is_alive(other)

    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not cleanup.is_alive(other), 5, "the end of the process")
    os.waitpid(pid, 0)

    assert alive == (True, True)
    assert not cleanup.is_alive(other)
    assert not cleanup.is_alive("another-boot:1:1:1")
    assert not cleanup.is_alive("")
