"""Copies of files to nodes, over a stand-in of ssh: complete or not at all, whatever interrupts them."""

import hashlib
import os
import signal
import subprocess

import pytest

from consumers.deliveries import DeadLetter, Done, Retry
from consumers.errors import Rejected
from consumers.policies.retry import attempt
from consumers.processes import job_runner
from consumers.verbs.run import command_checks
from consumers.verbs.run.steps import file_copy
from tests.consuming import QUICK, make_delivery
from tests.contract.test_run_nodes import SSH
from tests.integration.test_run_steps import at, handler, states, through  # noqa: F401 - `at` is a fixture
from tests.waiting import wait_for


@pytest.fixture
def nodes(tmp_path):
    """The settings of a stand-in whose nodes have a folder each, in place of `{here}` in what they are sent."""
    program, log = tmp_path / "ssh", tmp_path / "ssh.log"
    program.write_text(
        SSH.replace("$LOG", str(log)).replace('sh -c "$*"', 'sh -c "$(printf %s "$*" | sed "s,/here/,$0.d/$node/,g")"')
    )
    program.chmod(0o755)
    for node in ("n1", "n2", "n3"):
        (tmp_path / "ssh.d" / node).mkdir(parents=True)
    return {"transport": "ssh", "ssh": str(program)}, tmp_path / "ssh.d"


def copy(source, nodes="n[1-3]", **fields):
    step = {"name": "hand-out", "copy": {"from": str(source), "to": "/here/x.conf", **fields}, "nodes": nodes}
    return {"steps": [step]}


def left_aside(folder):
    return [each.name for each in folder.iterdir() if each.name != "x.conf"]


@pytest.mark.parametrize("size", [0, 5, 20_000_000])
def test_a_file_arrives_whole_with_its_mode_on_each_node(at, nodes, tmp_path, size):  # noqa: F811
    settings, there = nodes
    content = os.urandom(size)
    source = tmp_path / "source"
    source.write_bytes(content)
    (there / "n1" / "x.conf").write_text("old")

    outcome = through(handler(at, copy(source, mode="0640", owner="root"), **settings), make_delivery())

    assert isinstance(outcome, Done), outcome
    for node in ("n1", "n2", "n3"):
        target = there / node / "x.conf"
        assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(content).digest()
        assert target.stat().st_mode & 0o7777 == 0o640
        assert left_aside(there / node) == []


def test_a_node_where_it_fails_is_named_and_keeps_the_old_file(at, nodes, tmp_path):  # noqa: F811
    settings, there = nodes
    source = tmp_path / "source"
    source.write_text("new")
    (there / "n2" / "x.conf").mkdir()
    (there / "n2" / "x.conf" / "old").touch()

    outcome = through(handler(at, copy(source, "n[1-2],dead1"), **settings), make_delivery())

    assert isinstance(outcome, Retry)
    (step,) = outcome.result["steps"]
    assert step["nodes"] == {"succeeded": "n1", "failed": "dead1,n2"}
    assert step["unreachable"] == "dead1"
    assert (there / "n2" / "x.conf" / "old").exists()
    assert left_aside(there / "n2") == []


def test_an_owner_that_the_node_does_not_know_leaves_the_old_file(at, nodes, tmp_path):  # noqa: F811
    settings, there = nodes
    source = tmp_path / "source"
    source.write_text("new")
    (there / "n1" / "x.conf").write_text("old")

    outcome = through(handler(at, copy(source, "n1", owner="no-such-user"), **settings), make_delivery())

    assert outcome.reason.startswith("step hand-out: exit code 77 on n1")
    assert (there / "n1" / "x.conf").read_text() == "old"
    assert left_aside(there / "n1") == []


@pytest.mark.parametrize("how", ["cut", "killed", "connection"])
def test_an_interrupted_copy_leaves_the_old_file_working(tmp_path, how):
    """The script that a node runs, with a content that ends too early, and killed while it waits for more."""
    source, target = tmp_path / "source", tmp_path / "node" / "x.conf"
    target.parent.mkdir()
    source.write_bytes(b"x" * 1_000_000)
    target.write_text("old")
    words, content = file_copy.command(str(source), str(target), "0644", "")
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    process.stdin.write(content[:300_000])
    process.stdin.flush()
    wait_for(lambda: left_aside(target.parent), 20, "a file aside")

    if how == "killed":
        os.killpg(process.pid, signal.SIGKILL)
    elif how == "connection":
        os.killpg(process.pid, signal.SIGHUP)
    process.stdin.close()

    assert process.wait(20) != 0
    assert target.read_text() == "old"
    if how != "killed":
        assert left_aside(target.parent) == []
    process.stderr.close()
    # The next copy is not disturbed, and removes what is old.
    for name in left_aside(target.parent):
        os.utime(target.parent / name, (0, 0))
    subprocess.run(words, input=content, check=True, timeout=60)
    assert target.read_bytes() == content
    assert left_aside(target.parent) == []


def test_a_cancelled_copy_leaves_no_half_of_a_file(at, nodes, tmp_path):  # noqa: F811
    settings, there = nodes
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\n(head -c 1000; touch {tmp_path}/begun; sleep 30) | exec {settings["ssh"]} "$@"\n')
    slow.chmod(0o755)
    source = tmp_path / "source"
    source.write_bytes(b"x" * 1_000_000)
    (there / "n1" / "x.conf").write_text("old")
    function, owed = handler(at, copy(source, "n1"), **{**settings, "ssh": str(slow)}), make_delivery()
    attempt(owed, function, QUICK)
    wait_for((tmp_path / "begun").exists, 60, "the copy")

    cancelled = job_runner.cancel(at.all()[0], "somebody")
    outcome = through(function, owed)

    assert cancelled
    assert isinstance(outcome, DeadLetter)
    assert states(outcome.result) == {"hand-out": "cancelled"}
    assert (there / "n1" / "x.conf").read_text() == "old"


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "large", "writable"])
def test_a_file_that_cannot_be_copied_is_remarked_and_refused(tmp_path, kind, monkeypatch):
    source = tmp_path / "source"
    if kind == "folder":
        source.mkdir()
    elif kind == "fifo":
        os.mkfifo(source)
    elif kind != "missing":
        source.write_text("content")
    if kind == "large":
        monkeypatch.setattr(command_checks, "LARGEST_COPY", 3)
    if kind == "writable":
        source.chmod(0o666)

    assert command_checks.source_problem(source)
    with pytest.raises(Rejected):
        file_copy.command(str(source), "/etc/x", "0644", "")
