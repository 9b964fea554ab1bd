"""Limits of nodes over real consumers: a storm on a blast radius, with kills; first nodes that fail or go well."""

import threading
from collections import Counter
from datetime import UTC, datetime

import pytest

from router.broker.topology import RETRY_STEPS, queue_of
from router.cluster.facts.facts_store import FactStore
from router.cluster.facts.parts import Answer
from tests.consuming import make_event, publish
from tests.operating import Program
from tests.waiting import wait_for

NAMES = [f"n{number:03d}" for number in range(1, 101)]
ACT = """\
version: 1
subscriptions:
  - name: act
    on: nodeLeave
    concurrency: 4
    guard: GUARD
    run:
      command: [sh, -c, 'echo "$CLUSTERBUS_NODE_NAME" >> "$1"; test "$CLUSTERBUS_NODE_NAME" != "$2"', sh, FILE, FAILING]
      nodes: "{{ data.eventNode | join(',') }}"
      timeout: 20s
      detach: DETACH
    retry: {attempts: 1}
"""


@pytest.fixture
def program(vhost_url, tmp_path, database):
    """A function that returns a consumer with this guard, in a folder of its own; all share store and facts."""
    made = []
    rows = [{"full_name": name, "number": at, "quorum": at <= 3, "manager": False} for at, name in enumerate(NAMES, 1)]
    states = {str(at): {"name": name, "state": "active"} for at, name in enumerate(NAMES, 1)}
    content = {
        "cluster": {"name": "prod", "nodes": rows},
        "states": {"nodes": states, "needed": 2, "tiebreaker": False},
    }
    facts = f"sqlite:///{tmp_path / 'facts.db'}"
    with FactStore(facts) as store:
        store.write("prod", {part: Answer(each) for part, each in content.items()}, datetime.now(UTC))

    def make(guard, *, failing="none", detach=False):
        folder = tmp_path / f"consumer{len(made)}"
        folder.mkdir()
        text = ACT.replace("GUARD", guard).replace("FILE", str(tmp_path / "acted")).replace("FAILING", failing)
        settings = f"consumers: {{transport: local, jobs: {tmp_path / 'jobs'}}}\nfacts: {{store: '{facts}', age: 1h}}\n"
        text = text.replace("DETACH", str(detach).lower())
        made.append(Program(vhost_url, folder, text, settings=settings, store=database("store")))
        return made[-1]

    yield make
    for each in made:
        each.__exit__(None, None, None)


def about(*nodes):
    return make_event(type="gpfs.nodeLeave", category="node", eventNode=[*nodes])


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("rest", "word"), [("skip", "beyond"), ("wait", "wait")])
def test_of_a_storm_no_more_than_two_nodes_are_acted_on_and_nothing_is_lost(
    program, vhost_url, tmp_path, tap, rest, word
):
    acted = tmp_path / "acted"
    one, two = (program(f"{{blast_radius: {{nodes: 2, within: 1h, rest: {rest}}}}}") for _ in range(2))
    events = [about(NAMES[number % 100]) for number in range(1000)]
    one.start("act")
    two.start("act")
    storm = threading.Thread(target=publish, args=(vhost_url, events))

    storm.start()
    wait_for(acted.exists, 60, "the first action")
    two.running.kill()
    wait_for(lambda: len(one.rows()) > 300, 120, "a part of the storm")
    one.running.kill()
    one.start("act")
    storm.join(120)
    two.start("act")
    wait_for(lambda: len([row for row in one.rows() if row.outcome]) >= 1000, 240, "an outcome of each event")
    wait_for(lambda: not tap.count(queue_of("act")), 60, "an empty queue")

    rows = one.rows()
    outcomes = Counter(row.outcome for row in rows)
    nodes = {row.result["nodes"]["succeeded"] for row in rows if row.outcome == "done"}
    assert set(acted.read_text().split()) == nodes
    assert len(nodes) == 2
    assert {row.event_id for row in rows} == {each.id for each in events}
    assert outcomes == {"done": 20, word: 980}
    reasons = {row.reason for row in rows if row.outcome == word}
    assert reasons <= {
        "blast_radius: 2 nodes in 1h",
        "blast_radius: 2 nodes in 1h; the others wait",
        "blast_radius: 1 quorum node of 3 may be acted on at once",
        "blast_radius: 1 quorum node of 3 may be acted on at once; the others wait",
    }
    if rest == "wait":
        wait_for(lambda: sum(tap.count(f"clusterbus.retry.{step}") for step in RETRY_STEPS) >= 980, 60, "the rest")


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("detach", [False, True])
def test_a_first_node_that_fails_stops_the_rest(program, vhost_url, tmp_path, detach):
    consumer = program("{first: 1}", failing="n010", detach=detach).start("act")
    publish(vhost_url, [about("n010", "n011", "n012")])

    (row,) = consumer.wait_rows(1, outcome="dead", timeout=60)
    assert (tmp_path / "acted").read_text().split() == ["n010"]
    assert row.result["nodes"] == {"succeeded": "", "failed": "n[010-012]"}
    assert row.result["not_begun"] == "n[011-012]"
    assert row.reason.endswith("on n010, therefore not begun: n[011-012]")


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("detach", [False, True])
def test_what_waits_after_its_first_node_is_listed_and_cancelled(program, vhost_url, tmp_path, detach):
    consumer = program("{first: {nodes: 1, wait: 20s}}", detach=detach).start("act")
    publish(vhost_url, [about("n010", "n011", "n012")])
    wait_for(lambda: any("left" in row.result for row in consumer.rows()), 60, "the first")

    (listed,) = consumer.command("jobs", "list", "--state", "waiting", "--json")
    (cancelled,) = consumer.command("jobs", "cancel", listed["id"], "--json")
    (again,) = consumer.command("jobs", "cancel", listed["id"], "--json")
    (row,) = consumer.wait_rows(1, outcome="dead", timeout=90)
    consumer.command("jobs", "cancel", listed["id"], code=1)
    consumer.command("jobs", "cancel", "0123456789ab", code=2)

    assert (listed["about"]["nodes"], listed["reason"]) == ("n[011-012]", "succeeded on n010, left: n[011-012]")
    assert (cancelled["done"], again["done"]) == (True, False)
    assert (tmp_path / "acted").read_text().split() == ["n010"]
    assert row.reason.startswith("cancelled by ")
    assert row.reason.endswith(f" (job {listed['id']})")
    assert (row.result["nodes"]["succeeded"], row.result["not_begun"]) == ("n010", "n[011-012]")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("detach", [False, True])
def test_the_others_follow_the_first_that_went_well_and_a_kill_in_between_changes_nothing(
    program, vhost_url, tmp_path, detach
):
    consumer = program("{first: {nodes: 1, wait: 3s}, blast_radius: {nodes: 3, within: 1h}}", detach=detach).start(
        "act"
    )
    publish(vhost_url, [about("n010", "n011", "n012")])
    wait_for(lambda: any(row.outcome == "wait" and "left" in row.result for row in consumer.rows()), 60, "the first")
    acted = (tmp_path / "acted").read_text().split()
    consumer.running.kill()
    consumer.start("act")

    (row,) = consumer.wait_rows(1, outcome="done", timeout=60)
    assert acted == ["n010"]
    assert sorted((tmp_path / "acted").read_text().split()) == ["n010", "n011", "n012"]
    assert (row.attempt, row.result["nodes"]) == (1, {"succeeded": "n[010-012]", "failed": ""})
