"""Commands on node sets: the real ClusterShell, the real processes; ssh is a stand-in that does what sshd does."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.errors import Rejected
from consumers.processes import cleanup
from consumers.verbs.interface import Surroundings
from consumers.verbs.run.node_targets import fold, names_of
from consumers.verbs.run.verb import RunVerb
from router import interpreter
from router.cluster.fleet.runner import PROGRAM
from router.settings.models import Settings
from tests.consuming import is_gone, make_delivery, make_event
from tests.waiting import wait_for

HOSTILE = {
    "semicolon": "; touch {bait}; #",
    "substitution": "$(touch {bait})`touch {bait}`",
    "quotes": "'; touch {bait}; '\"; touch {bait}; \"",
    "option": "-oProxyCommand=touch {bait}",
    "lines": "one\ntouch {bait}\r\ntwo",
    "placeholders": "%h %host %n %% %hosts %{hosts} %",
    "template": "{{ data }} {% if x %}",
    "blanks": "  a  b  ",
    "empty": "",
    "glob": "* ? [a] ~ $HOME !! \\ & | > < ( )",
    "unicode": "ünïcödé \u202e\U0001f600",
}

# Drops the options as ssh reads them, and has the last word run by a shell, as sshd does with what it is sent.
SSH = """#!/bin/sh
printf '%s\\n' "$*" >> "$LOG"
while :; do case $1 in -l|-i|-p|-F) shift 2;; -*) shift;; *) break;; esac; done
node=$1; shift
case $node in dead*) echo "ssh: connect to host $node port 22: No route to host" >&2; exit 255;; esac
exec env -i PATH="$PATH" NODE="$node" sh -c "$*"
"""


@pytest.fixture
def ssh(tmp_path):
    """The stand-in, and where it writes how it was called."""
    program, log = tmp_path / "ssh", tmp_path / "ssh.log"
    program.write_text(SSH.replace("$LOG", str(log)))
    program.chmod(0o755)
    return program, log


def surroundings(stopping=None, **consumers):
    return Surroundings(
        "a", stopping or threading.Event(), Settings.model_validate({"consumers": {"transport": "local", **consumers}})
    )


def handler(command, nodes, *, around=None, **fields):
    verb = RunVerb.model_validate({"command": command, "nodes": nodes, "timeout": "20s", **fields})
    return verb.handler(around or surroundings())


def sh(code):
    return ["sh", "-c", code]


def test_each_node_runs_it_and_the_same_is_told_once():
    report = handler(sh("echo $CLUSTERBUS_VAR_fsName; test $CLUSTERBUS_NODE_NAME != n2"), "n[1-4]")(make_delivery())

    assert (report.failure, report.reason) == ("exit:1", "exit code 1 on n2")
    assert report.result["exit"] == {"0": "n[1,3-4]", "1": "n2"}
    assert report.result["output"] == [{"nodes": "n[1-4]", "text": "gpfs1\n", "octets": 6}]


def test_a_retry_runs_only_on_the_nodes_that_failed(tmp_path):
    ran = tmp_path / "ran"
    once = "test $CLUSTERBUS_NODE_NAME != n2 -o $CLUSTERBUS_ATTEMPT = 2"
    code = f"echo $CLUSTERBUS_NODE_NAME $CLUSTERBUS_ATTEMPT >> {ran}; {once}"
    event = make_event(upNodes="n1,n2,n3")
    function = handler(sh(code), "{{ data.upNodes }}")

    first = function(make_delivery(event))
    again = make_delivery(event, attempt=2, earlier=json.loads(json.dumps(first.result)))
    planned = function.plan(again)
    second = function(again)

    assert first.result["nodes"] == {"succeeded": "n[1,3]", "failed": "n2"}
    assert (planned["nodes"], planned["succeeded"]) == ("n2", "n[1,3]")
    assert second.failure is None
    assert second.result["nodes"] == {"succeeded": "n[1-3]", "failed": ""}
    assert sorted(ran.read_text().splitlines()) == ["n1 1", "n2 1", "n2 2", "n3 1"]


def test_what_succeeded_is_told_on_when_an_attempt_breaks(monkeypatch):
    def broken(*_):
        raise OSError("no more processes")

    monkeypatch.setattr("consumers.processes.child_process.run", broken)
    earlier = {"nodes": {"succeeded": "n1", "failed": "n2"}}

    report = handler(["true"], "n[1-2]")(make_delivery(attempt=2, earlier=earlier))

    assert (report.failure, report.result) == ("OSError", earlier)


@pytest.mark.parametrize("value", ["@all", "-oProxyCommand=x", "n1;id", "$(id)", "n1\nn2", "../../x", ""])
def test_nodes_from_an_event_are_names_of_hosts_or_nothing_is_run(tmp_path, value):
    event = make_event(upNodes=value)

    with pytest.raises(Rejected):
        handler(["touch", str(tmp_path / "bait")], "{{ data.upNodes }}")(make_delivery(event))

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("transport", ["ssh", "local"])
def test_a_value_arrives_as_one_word_on_each_node(tmp_path, ssh, name, transport):
    bait, said = tmp_path / "bait", tmp_path / "said"
    value = HOSTILE[name].replace("{bait}", str(bait))
    code = f"import os,sys,json; open({str(said)!r},'a').write(json.dumps([sys.argv[1:], os.environ['MINE']])+'\\n')"
    around = surroundings(transport=transport, ssh=str(ssh[0]))
    command = [sys.executable, "-IS", "-c", code, "<{{ data.value }}>", "last"]
    function = handler(command, "n[1-2]", around=around, environment={"MINE": "{{ data.value }}"})

    report = function(make_delivery(make_event(value=value)))

    assert report.failure is None, report
    assert [json.loads(each) for each in said.read_text().splitlines()] == [[[f"<{value}>", "last"], value]] * 2
    assert not bait.exists()


def test_over_ssh_users_options_and_limits_are_told_and_a_dead_node_is_unreachable(ssh):
    around = surroundings(transport="ssh", ssh=str(ssh[0]), ssh_options=["-i", "/etc/key with blank"])
    function = handler(
        sh('echo $NODE; test "$NODE" != n2'), "n[1-2],dead1", around=around, user="operator", connect_timeout="3s"
    )

    report = function(make_delivery())

    assert report.failure == "nodes"
    assert report.reason == "exit code 1 on n2, unreachable: dead1"
    assert list(report.blamed) == ["run sh on n[1-2],dead1"]
    called = next(line for line in ssh[1].read_text().splitlines() if " n1 " in line)
    assert called.startswith("-i /etc/key with blank ")
    assert " -l operator -oConnectTimeout=3 -oBatchMode=yes n1 timeout -k 5 20 env " in called


def test_over_ssh_time_is_up_on_the_node_itself_and_what_ignores_that_is_killed(ssh, tmp_path, monkeypatch):
    monkeypatch.setattr("consumers.verbs.run.local.GRACE", timedelta(seconds=1))
    around = surroundings(transport="ssh", ssh=str(ssh[0]))
    pids = tmp_path / "pids"
    code = (
        f"echo $$ >> {pids}; test $NODE = n1 && trap '' TERM; sleep 31 & echo $! >> {pids}; while :; do sleep 0.1; done"
    )

    report = handler(sh(code), "n[1-3]", around=around, timeout="1s")(make_delivery())

    assert (report.failure, report.reason) == ("timeout", "timed out on n[1-3]")
    assert report.result["timed_out"] == "n[1-3]"
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())


def test_a_deadline_ends_all_and_tells_who_was_not_begun():
    function = handler(
        sh("test $CLUSTERBUS_NODE_NAME = n9 || exec sleep 32"), "n[1-9]", fanout=3, timeout="1s", deadline="1.5s"
    )

    report = function(make_delivery())

    result = report.result
    counted = [names_of(result[each]) for each in ("timed_out", "unfinished", "not_begun") if each in result]
    assert report.failure == "timeout"
    assert sum(len(each) for each in counted) >= 8
    assert "not started before the deadline on" in report.reason


def test_output_is_bounded_for_each_node_and_costs_no_memory():
    # No newline in it, and more than 30 times what is kept of all nodes.
    code = "head -c 100000000 /dev/zero | tr '\\0' x; test $CLUSTERBUS_NODE_NAME = n1 && echo more; true"

    report = handler(sh(code), "n[1-4]", output=4096)(make_delivery())

    texts = {each["nodes"]: (len(each["text"]), each["octets"]) for each in report.result["output"]}
    assert texts == {"n[2-4]": (4096, 100_000_000), "n1": (4096, 100_000_005)}


def test_nothing_is_read_from_the_consumers_input_and_a_broken_pipe_ends_a_command():
    report = handler(sh("cat; yes | head -1"), "n[1-2]", timeout="5s")(make_delivery())

    assert report.failure is None
    assert report.result["output"] == [{"nodes": "n[1-2]", "text": "y\n", "octets": 2}]


def test_the_sites_own_settings_of_clustershell_change_nothing(tmp_path, monkeypatch, ssh):
    (tmp_path / "topology.conf").write_text("[routes]\nn1: n2\n")
    (tmp_path / "defaults.conf").write_text("[task.info]\nssh_path: /bin/false\nfanout: 1\n")
    monkeypatch.setenv("CLUSTERSHELL_CFGDIR", str(tmp_path))

    report = handler(["true"], "n[1-2]", around=surroundings(transport="ssh", ssh=str(ssh[0])))(make_delivery())

    assert report.failure is None


def test_what_no_node_could_run_is_refused_before_any_is_asked(ssh):
    around = surroundings(transport="ssh", ssh=str(ssh[0]))

    with pytest.raises(Rejected, match="octets"):
        handler(["echo", *["{{ data.big }}"] * 3], "n1", around=around)(make_delivery(make_event(big="x" * 60_000)))
    with pytest.raises(Rejected, match="cannot run"):
        handler(["no-such-program"], "n1")(make_delivery())
    with pytest.raises(Rejected, match="cannot run"):
        handler(["true"], "n1", around=surroundings(transport="ssh", ssh="/no/ssh"))(make_delivery())

    assert not ssh[1].exists()


def test_recorded_is_what_would_be_run_and_nothing_is(tmp_path):
    file, bait = tmp_path / "recorded.jsonl", tmp_path / "bait"
    around = surroundings(transport="record", recorded=file)
    function = handler(["touch", str(bait)], "n[1-2]", around=around, environment={"A": "{{ node }}"})

    reports = [function(make_delivery()) for _ in range(2)]

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["nodes"], line["command"], line["environment"]) for line in lines] == [
        ("n[1-2]", ["touch", str(bait)], {"A": "nsd01"})
    ] * 2
    assert reports[0].result["nodes"] == {"succeeded": "n[1-2]", "failed": ""}
    assert not bait.exists()


def _request(**fields):
    return {
        "nodes": ["n1"],
        "command": ["true"],
        "environment": {},
        "transport": "local",
        "fanout": 4,
        "connect_timeout": 5,
        "timeout": 20,
        "grace": 1,
        "deadline": 30,
        "output": 1024,
        "user": None,
        "ssh": "ssh",
        "ssh_options": [],
        **fields,
    }


@pytest.mark.parametrize("nodes", [[], ["-oProxyCommand=x"], ["@all"], ["n1", "a b"]])
def test_the_fan_out_itself_refuses_what_is_no_node(tmp_path, nodes):
    command = interpreter.module(PROGRAM)
    request = _request(nodes=nodes, command=["touch", str(tmp_path / "bait")])

    ended = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False, timeout=120)

    assert ended.returncode == 1
    assert "is not a host name" in ended.stderr
    assert not (tmp_path / "bait").exists()


def test_a_stop_ends_all_and_has_no_outcome(tmp_path):
    stopping, pids = threading.Event(), tmp_path / "pids"
    function = handler(sh(f"echo $$ >> {pids}; sleep 33"), "n[1-4]", around=surroundings(stopping))

    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(function, make_delivery())
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 4, 20, "four commands")
        stopping.set()
        assert outcome.result(120) is None

    assert all(is_gone(int(pid)) for pid in pids.read_text().split())


def test_a_stop_keeps_the_nodes_that_were_done_and_the_next_call_runs_on_the_others(tmp_path):
    stopping, ran, hold, jobs = threading.Event(), tmp_path / "ran", tmp_path / "hold", tmp_path / "jobs"
    hold.touch()
    held = f"test $CLUSTERBUS_NODE_NAME = n1 || while test -e {hold}; do sleep 0.05; done"
    command = sh(f"echo $CLUSTERBUS_NODE_NAME >> {ran}; {held}")
    function = handler(command, "n[1-3]", around=surroundings(stopping, jobs=str(jobs)))

    def one_is_done():
        watched = "".join(each.read_text() for each in jobs.rglob("nodes") if each.is_file())
        return '{"node": "n1", "state": "succeeded"' in watched and len(ran.read_text().split()) == 3

    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(function, make_delivery())
        wait_for(one_is_done, 20, "the first node is done")
        stopping.set()
        report = outcome.result(120)
    hold.unlink()
    again = handler(command, "n[1-3]")(make_delivery(earlier=report.result))

    assert report.again is not None
    assert report.result["nodes"] == {"succeeded": "n1", "failed": "n[2-3]"}
    assert again.result["nodes"] == {"succeeded": "n[1-3]", "failed": ""}
    assert sorted(ran.read_text().split()) == ["n1", "n2", "n2", "n3", "n3"]


def _descriptors():
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only


@pytest.mark.long
@pytest.mark.timeout(110)
def test_eight_fan_outs_on_64_nodes_at_once_come_out_right_for_each_node_and_leave_nothing(tmp_path):
    # Some nodes fail with 3, some are too slow, some leave a child behind; the eighth fan-out is killed.
    code = (
        f"echo $$ >> {tmp_path}/pids.$1; n=${{CLUSTERBUS_NODE_NAME#n}}; "
        "test $1 = 7 && { sleep 34; exit 9; }; "
        "case $n in *0) exit 3;; *5) sleep 35;; *7) setsid sleep 36 >/dev/null 2>&1 & ;; esac; echo good"
    )
    names = names_of("n[101-164]")
    failing = {each for each in names if each.endswith("0")}
    slow = {each for each in names if each.endswith("5")}
    around = surroundings()
    deliveries = [make_delivery(make_event(run=str(each))) for each in range(8)]
    handler(["true"], "n1")(make_delivery())
    before = _descriptors(), threading.active_count()

    def once(at):
        timeout = "60s" if at == 7 else "4s"
        words = ["sh", "-c", code, "sh", "{{ data.run }}"]
        return handler(words, "n[101-164]", around=around, timeout=timeout, fanout=64)(deliveries[at])

    with ThreadPoolExecutor(8) as pool:
        outcomes = [pool.submit(once, at) for at in range(8)]
        killed = tmp_path / "pids.7"
        wait_for(lambda: killed.exists() and len(killed.read_text().split()) == 64, 60, "all of the eighth")
        os.kill(_process_of(deliveries[7].mark), 9)
        reports = [each.result(360) for each in outcomes]

    good = set(names) - failing - slow
    for report in reports[:7]:
        assert report.failure == "nodes"
        assert report.result["exit"] == {"0": fold(good), "3": fold(failing)}
        assert report.result["timed_out"] == fold(slow)
        assert report.result["nodes"] == {"succeeded": fold(good), "failed": fold(failing | slow)}
        assert report.result["output"] == [{"nodes": fold(good), "text": "good\n", "octets": 5}]
    assert (reports[7].failure, reports[7].result["nodes"]) == ("lost", {"succeeded": "", "failed": "n[101-164]"})
    assert [cleanup.end(each.mark) for each in deliveries] == [0] * 8
    assert (_descriptors(), threading.active_count()) == before


def _process_of(mark):
    """Return the fan-out's own process: the one with the mark that runs the program."""
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                words = (each / "cmdline").read_bytes().split(b"\0")
                if PROGRAM.encode() in words and mark.encode() in (each / "environ").read_bytes():
                    return int(each.name)
            except OSError:
                continue
    raise AssertionError("no process of the fan-out")
