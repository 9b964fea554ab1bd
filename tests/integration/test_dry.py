"""`clusterbus consume --dry-run`: what would be done, told of each event as it comes; nothing is taken, or written."""

import json

import pytest

from router.broker import topology
from router.broker.session import Session
from router.broker.topology import queue_of
from tests.consuming import make_event, now, publish
from tests.flow import Running
from tests.operating import Program
from tests.waiting import wait_for

FILE = """\
version: 1
subscriptions:
  - {name: audit, on: "#", log: {}}
  - name: act
    on: quota
    where: data.blockUsage > 5
    run: {command: [touch, "FOLDER/{{ data.fsName }}"]}
    guard: {only_if: [touch, "FOLDER/asked"]}
  - {name: resting, on: quota, mode: "off", log: {}}
  - name: word
    on: quota
    run: {command: [echo, "{{ data.fsName }}"]}
    fold: {wait: 30s}
"""


@pytest.fixture
def program(vhost_url, tmp_path):
    with Session(vhost_url, name="test") as session:
        for name in ("audit", "act", "word"):
            session.declare(topology.base() + topology.subscription(name, ["#"]))
    with Program(vhost_url, tmp_path, FILE.replace("FOLDER", str(tmp_path))) as program:
        yield program


@pytest.fixture
def rehearse(program, tmp_path):
    """A function that starts a rehearsal with these options, and ends it."""
    started = []

    def start(*words):
        command = [*program.words, "--log-level", "ERROR", "consume", "--dry-run", *words]
        started.append(Running("dry", command, program.environment, tmp_path).start())
        return started[-1]

    yield start
    for each in started:
        each.kill()


def fresh(**attributes):
    return make_event(time=now().isoformat(), **attributes)


def told(running):
    return [json.loads(line) for line in running.log.read_text().splitlines() if line.startswith("{")]


def test_each_event_is_told_with_what_each_subscription_would_do_and_nothing_is_touched(
    program, rehearse, vhost_url, tmp_path, tap
):
    small, quota, other = fresh(blockUsage=1), fresh(), fresh(category="disk", type="gpfs.diskFailure")
    hostile = fresh(fsName="-oProxyCommand=x")
    publish(vhost_url, [small])

    running = rehearse("--since", "1h", "--json")
    wait_for(lambda: len(told(running)) == 4, 20, "what is in history")
    publish(vhost_url, [quota, other, hostile])
    lines = wait_for(lambda: len(found := told(running)) == 16 and found, 20, "what comes")
    assert running.stop() == 0

    found = {(each["id"], each["subscription"]): each for each in lines}
    assert [found[small.id, name]["decision"] for name in ("audit", "act", "resting", "word")] == [
        *("matched", "filter", "off", "matched")
    ]
    assert found[quota.id, "act"]["effect"]["command"] == ["touch", f"{tmp_path}/gpfs1"]
    assert found[quota.id, "word"]["rules"] == ["grouped: delivered 30s after the first event"]
    assert found[other.id, "act"]["decision"] == "pattern"
    assert "-oProxyCommand=x" in found[hostile.id, "word"]["refused"]
    assert [tap.count(queue_of(name)) for name in ("audit", "act", "word")] == [4, 4, 4]
    assert all(not each.redelivered for each in peeked(tap, "act"))
    assert not (tmp_path / "store.db").exists()
    assert not (tmp_path / "gpfs1").exists()
    assert not (tmp_path / "asked").exists()


def peeked(tap, name):
    """Return how each message of the queue comes when it is taken for the first time."""
    found = []
    while (got := tap.channel.basic_get(queue_of(name)))[0] is not None:
        found.append(got[0])
    return found


def test_people_read_what_would_be_done_and_why_not(program, rehearse, vhost_url, tmp_path):
    running = rehearse("--since", "1h")
    publish(vhost_url, [event := fresh(blockUsage=1)])

    words = wait_for(lambda: "word  runs" in running.words() and running.words(), 20, "the event")

    assert event.id in words
    assert "because   where is false: data.blockUsage > 5 (data.blockUsage is 1)" in words


def test_options_of_a_rehearsal_are_refused_without_it(program):
    program.command("consume", "--since", "1h", code=2)
