"""`blast_radius` and `first`: on how many nodes actions act within a time, and on which first."""

from collections import defaultdict
from datetime import timedelta
from functools import cache

import pytest
from pydantic import ValidationError
from sqlalchemy import update

from consumers.deliveries import Report
from consumers.policies.blast_radius import Members, room
from consumers.policies.guards import AtMost, BlastRadius, First, Guard
from consumers.policies.retry import RetryPolicy
from consumers.store.schema import deliveries
from consumers.verbs.run import node_outcomes
from router.cluster.facts.assemble import assemble
from router.cluster.facts.models import unknown
from router.cluster.facts.parts import Reading
from tests.consuming import make_event
from tests.engines import START, Recorded, outcomes, subscription

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NAMES = [f"n{number:03d}" for number in range(1, 101)]


class Facts:
    """The facts of a cluster of 100 nodes, the first of which are quorum nodes; *down* are not active."""

    def __init__(self, quorum=0, down=(), tiebreaker=False, known=True, age=timedelta()):
        self.quorum, self.down, self.tiebreaker, self.known, self.age = quorum, down, tiebreaker, known, age

    def begin(self):
        pass

    def of(self, cluster):
        if not self.known:
            return unknown("no facts were read yet")
        return _assembled(cluster, self.quorum, tuple(self.down), self.tiebreaker).at(START + self.age)


@cache
def _assembled(cluster, quorum, down, tiebreaker):
    # As the router keeps them: a gate asks for them again and again.
    rows = [
        {"full_name": f"{name}.example.org", "number": at, "quorum": at <= quorum, "manager": False}
        for at, name in enumerate(NAMES, 1)
    ]
    states = {
        str(at): {"name": name, "state": "down" if name in down else "active"} for at, name in enumerate(NAMES, 1)
    }
    content = {
        "cluster": {"name": cluster, "nodes": rows},
        "states": {"nodes": states, "needed": quorum // 2 + 1, "tiebreaker": tiebreaker},
        "node_classes": {"storage": NAMES[:40]},
    }
    return assemble(cluster, (Reading(part, each, START, START) for part, each in content.items()), HOUR)


class Acts(Recorded):
    """A handler that acts on the nodes of the event, some of them at a time; the test says which fail."""

    divides = True

    def _run(self, delivery):
        names = delivery.event.data["eventNode"]
        run = node_outcomes.next_run(names, delivery.earlier, "", is_remote=True)
        return run if delivery.portion is None else run.only(delivery.portion, delivery.portion_wait)

    def nodes(self, delivery):
        return self._run(delivery).todo

    def __call__(self, delivery):
        run = self._run(delivery)
        failing = self._call(delivery, run.todo)
        outcome = {"codes": defaultdict(list), "timed_out": "", "unfinished": "", "output": [], "seconds": 1}
        for each in run.todo:
            outcome["codes"]["1" if each in failing else "0"].append(each)
        outcome["codes"] = {code: ",".join(names) for code, names in outcome["codes"].items()}
        return node_outcomes.with_rest(node_outcomes.report(outcome, run), run, delivery.portions, self._call.clock())


class ActsOnAll(Acts):
    divides = False


class Acting:
    """What was acted on, and when."""

    def __init__(self, bench, make=Acts, **facts):
        self.bench, self.failing, self.acted = bench, set(), []
        bench.make, bench.facts = make, Facts(**facts)
        bench._call = self

    def clock(self):
        return self.bench.clock()

    def __call__(self, _delivery, nodes):
        self.acted.append((self.bench.broker.now, tuple(nodes)))
        return self.failing

    @property
    def nodes(self):
        return [node for _, nodes in self.acted for node in nodes]

    def most_within(self, within):
        """Return the largest number of different nodes that were acted on in a period of this length."""
        return max(
            len({node for at, nodes in self.acted for node in nodes if begin <= at < begin + within})
            for begin, _ in self.acted
        )


def act(name="tell", *, radius=None, first=None, **fields):
    guard = Guard(blast_radius=radius, first=first, **fields.pop("guard", {}))
    return subscription(name, guard=guard, concurrency=20, **fields)


def radius(**fields):
    return BlastRadius(**{"nodes": 2, "within": HOUR, **fields})


def about(*numbers, **more):
    return make_event(eventNode=[NAMES[each - 1] for each in numbers], type="gpfs.nodeLeave", **more)


@pytest.mark.parametrize(
    "fields",
    [{}, {"nodes": 2, "percent": 3}, {"nodes": 2, "of": "storage"}, {"of": "storage"}, {"nodes": 0}, {"percent": 101}],
)
def test_a_radius_is_a_number_of_nodes_or_a_percentage(fields):
    with pytest.raises(ValidationError):
        BlastRadius(within=HOUR, **fields)


def test_a_number_is_that_of_the_first_nodes():
    assert Guard(first=2).first == First(nodes=2)


@pytest.mark.thorough
def test_of_a_storm_two_nodes_are_acted_on_within_an_hour_and_the_rest_waits_until_all_are_done(bench):
    acting = Acting(bench)
    bench.start(act(radius=radius()))
    bench.publish_at_once([about(number) for number in range(1, 7) for _ in range(10)])
    assert len(set(acting.nodes)) == 2
    bench.broker.advance(5 * HOUR)

    assert sorted(acting.nodes) == sorted(name for name in NAMES[:6] for _ in range(10))
    assert acting.most_within(HOUR) == 2
    assert outcomes(bench) == ["done"] * 60


def test_of_a_storm_the_rest_is_skipped_with_the_reason(bench):
    acting = Acting(bench)
    bench.start(act(radius=radius(rest="skip")))
    bench.publish_at_once([about(number) for number in range(1, 7) for _ in range(10)])
    bench.broker.advance(5 * HOUR)

    assert len(set(acting.nodes)) == 2
    assert (outcomes(bench).count("done"), outcomes(bench).count("beyond")) == (20, 40)
    assert {row.reason for row in bench.rows() if row.outcome == "beyond"} == {"blast_radius: 2 nodes in 1h"}


def test_a_node_counts_until_the_time_has_passed_after_the_end(bench):
    acting = Acting(bench)
    bench.start(act(radius=radius(nodes=1)))
    bench.pool.held = "begun"
    bench.publish(about(1))
    bench.broker.advance(2 * HOUR)
    bench.publish(about(2))
    bench.pool.release()
    bench.broker.advance(50 * MINUTE)
    assert acting.nodes == ["n001"]
    bench.broker.advance(20 * MINUTE)

    assert acting.nodes == ["n001", "n002"]


def test_a_delivery_on_many_nodes_goes_through_in_portions(bench):
    acting = Acting(bench)
    bench.start(act(radius=radius()))
    bench.publish(about(1, 2, 3, 4, 5))
    bench.broker.advance(3 * HOUR)

    assert [nodes for _, nodes in acting.acted] == [("n001", "n002"), ("n003", "n004"), ("n005",)]
    assert acting.most_within(HOUR) == 2
    (row,) = bench.rows()
    assert (row.outcome, row.attempt, row.result["nodes"]) == ("done", 1, {"succeeded": "n[001-005]", "failed": ""})


def test_what_cannot_be_divided_waits_until_it_may_act_on_all_and_never_acts_on_too_many(bench):
    acting = Acting(bench, ActsOnAll)
    bench.start(act(radius=radius()))
    bench.publish(about(1))
    bench.publish(about(2, 3))
    bench.publish(about(4, 5, 6))
    assert acting.nodes == ["n001"]
    bench.broker.advance(2 * HOUR)

    assert acting.acted[1:] == [(acting.acted[1][0], ("n002", "n003"))]
    assert acting.most_within(HOUR) == 2
    (dead,) = (row for row in bench.rows() if row.outcome == "dead")
    assert dead.reason == "blast_radius: 2 nodes in 1h, and this would act on 3"


@pytest.mark.parametrize("rest", ["wait", "skip"])
def test_quorum_nodes_wait_while_the_states_of_nodes_are_stale(bench, rest):
    """A quorum node that has just gone down may be active in the facts of an hour ago."""
    acting = Acting(bench, quorum=5, age=2 * HOUR)
    bench.start(act(radius=radius(nodes=10, rest=rest)))
    bench.publish(about(1, 50))
    bench.publish(about(2))
    bench.broker.advance(MINUTE)
    before = acting.nodes
    reasons = [row.reason for row in bench.rows() if row.outcome == "wait"]
    bench.facts.age = timedelta()
    bench.broker.advance(MINUTE)

    assert before == ["n050"]
    assert any("the facts are stale: run `clusterbus facts read`" in each for each in reasons), reasons
    assert sorted(acting.nodes) == ["n001", "n002", "n050"]
    assert outcomes(bench) == ["done", "done"]


def test_a_percentage_is_of_the_class(bench):
    acting = Acting(bench)
    bench.start(act(radius=BlastRadius(percent=10, of="storage", within=HOUR)))
    bench.publish_at_once([about(number) for number in range(1, 20)])

    assert len(set(acting.nodes)) == 4


@pytest.mark.parametrize(
    ("facts", "reason"),
    [({"known": False}, "the nodes of the cluster are no facts"), ({}, "the node class other is not known")],
)
def test_where_the_facts_say_nothing_it_waits(bench, facts, reason):
    acting = Acting(bench, **facts)
    bench.start(act(radius=BlastRadius(percent=10, of="other", within=HOUR)))
    bench.publish(about(1))
    bench.broker.advance(HOUR)

    assert acting.nodes == []
    (row,) = bench.rows()
    assert row.outcome == "wait"
    assert row.reason.startswith(f"blast_radius: {reason}")


@pytest.mark.parametrize(
    ("facts", "most"),
    [
        ({"quorum": 5}, 2),
        ({"quorum": 4}, 1),
        ({"quorum": 3}, 1),
        ({"quorum": 3, "down": ("n003",)}, 0),
        ({"quorum": 2, "tiebreaker": True}, 1),
        ({"quorum": 5, "down": ("n099",)}, 2),
    ],
)
def test_never_is_a_majority_of_the_quorum_nodes_acted_on_by_all_actions_together(bench, facts, most):
    acting = Acting(bench, **facts)
    bench.start(act("one", radius=radius(nodes=50)), act("two", radius=radius(nodes=50)))
    bench.publish(about(*range(1, 8)))
    bench.publish(*(about(number) for number in range(1, 8)))
    voters = set(NAMES[: facts["quorum"]])

    assert len(voters.intersection(acting.nodes) - {*facts.get("down", ())}) == most
    assert set(acting.nodes) >= set(NAMES[:7]) - voters


def test_a_quorum_node_that_is_down_may_be_acted_on(bench):
    acting = Acting(bench, quorum=3, down=("n003",))
    bench.start(act(radius=radius()))
    bench.publish(about(3))

    assert acting.nodes == ["n003"]


def test_without_a_quorum_that_would_be_left_it_is_given_up_at_once(bench):
    acting = Acting(bench, quorum=1)
    bench.start(act(radius=radius()))
    bench.publish(about(1))

    assert acting.nodes == []
    assert [(row.outcome, row.reason) for row in bench.rows()] == [
        ("dead", "blast_radius: 0 quorum nodes of 1 may be acted on at once, and this would act on 1")
    ]


def test_a_killed_consumer_leaves_its_nodes_counted(bench):
    acting = Acting(bench)
    guarded = act(radius=radius(nodes=1))
    bench.pool.held = "begun"
    bench.start(guarded)
    bench.publish(about(1))
    bench.lose_owner()
    bench.lose_connection("tell")
    bench.pool.held = None
    bench.start(guarded)
    bench.publish(about(2))
    bench.broker.advance(MINUTE)
    assert acting.nodes == ["n001"]
    bench.broker.advance(2 * HOUR)

    assert acting.nodes == ["n001", "n002"]


def test_a_command_that_runs_here_counts_for_the_nodes_that_it_acts_on(bench):
    called = []
    bench.handler = lambda delivery: called.append(delivery.event.data["eventNode"][0]) or Report()
    bench.facts = Facts()
    guard = Guard(blast_radius=radius(), acts_on="{{ data.eventNode | join(',') }}")
    bench.start(subscription(guard=guard, concurrency=20))
    bench.publish(*(about(number) for number in range(1, 6)))
    bench.publish(about(1).model_copy(update={"data": {"eventNode": ["@all"]}}))

    assert called == NAMES[:2]
    assert sorted(outcomes(bench)) == ["dead", "done", "done", "wait", "wait", "wait"]


# first


def test_the_others_follow_after_the_first_went_well(bench):
    acting = Acting(bench)
    bench.start(act(first=First(nodes=1, wait=10 * MINUTE)))
    bench.publish(about(1, 2, 3))
    bench.broker.advance(9 * MINUTE)
    assert acting.nodes == ["n001"]
    bench.broker.advance(10 * MINUTE)

    assert [nodes for _, nodes in acting.acted] == [("n001",), ("n002", "n003")]
    (row,) = bench.rows()
    assert (row.outcome, row.result["nodes"]) == ("done", {"succeeded": "n[001-003]", "failed": ""})


def test_a_first_node_that_fails_stops_the_rest(bench):
    acting = Acting(bench)
    acting.failing = {"n001"}
    bench.start(act(first=1, retry=RetryPolicy(attempts=2, first=5 * SECOND)))
    bench.publish(about(1, 2, 3))
    bench.broker.advance(HOUR)

    assert acting.nodes == ["n001", "n001"]
    row = bench.rows()[-1]
    assert (row.outcome, row.attempt) == ("dead", 2)
    assert row.reason == "exit code 1 on n001, therefore not begun: n[002-003]"
    assert row.result["nodes"] == {"succeeded": "", "failed": "n[001-003]"}
    assert row.result["not_begun"] == "n[002-003]"


def test_a_retry_that_goes_well_on_the_first_goes_on_with_the_rest(bench):
    acting = Acting(bench)
    acting.failing = {"n001"}
    bench.start(act(first=1, retry=RetryPolicy(attempts=2, first=5 * SECOND)))
    bench.publish(about(1, 2, 3))
    acting.failing = set()
    bench.broker.advance(MINUTE)

    assert [nodes for _, nodes in acting.acted] == [("n001",), ("n001",), ("n002", "n003")]
    assert outcomes(bench) == ["retry", "done"]


def test_what_cannot_act_on_some_first_acts_on_none_of_many(bench):
    acting = Acting(bench, ActsOnAll)
    bench.start(act(first=1))
    bench.publish(about(1, 2, 3))
    bench.publish(about(4))

    assert acting.nodes == ["n004"]
    dead = next(row for row in bench.rows() if row.outcome == "dead")
    assert dead.reason == "first: this acts on 3 nodes, and cannot act on some of them first"


@pytest.mark.parametrize("kind", ["killed", "interrupted"])
def test_a_consumer_that_ends_during_the_first_does_not_let_the_rest_begin(bench, kind):
    acting = Acting(bench)
    guarded = act(first=2)
    bench.pool.held = "begun"
    bench.start(guarded)
    bench.publish(about(1, 2, 3, 4))
    bench.pool.waiting.clear()
    with bench.store.writing() as transaction:
        result = '{"nodes": {"succeeded": "n001", "failed": "n[002-004]"}, "interrupted": true}'
        changed = {"owner": "x:1:2", "result": result if kind == "interrupted" else None}
        transaction.execute(update(deliveries).values(changed))
    bench.lose_connection("tell")
    bench.pool.held = None
    bench.start(guarded)
    bench.broker.advance(MINUTE)

    first = {"killed": ("n001", "n002"), "interrupted": ("n002",)}[kind]
    assert [nodes for _, nodes in acting.acted] == [first, ("n003", "n004")]


def test_a_portion_that_waits_for_its_radius_keeps_what_was_done_and_its_place(bench):
    acting = Acting(bench)
    bench.start(act(radius=radius(within=2 * MINUTE), guard={"at_most": AtMost(count=1)}))
    bench.publish(about(1, 2, 3))
    bench.publish(about(1))
    bench.broker.advance(MINUTE)
    reasons = {row.reason for row in bench.rows()}
    bench.broker.advance(4 * MINUTE)

    assert reasons == {
        "blast_radius: 2 nodes in 2m; the others wait",
        "at_most: 1 of tell are running; waits until one ends",
    }
    assert [nodes for _, nodes in acting.acted] == [("n001", "n002"), ("n003",), ("n001",)]


def test_a_job_that_runs_is_asked_for_nothing(bench):
    calls = []

    class Job(Acts):
        def __call__(self, delivery):
            calls.append(delivery.portion)
            done = len(calls) == 3
            report = Report(again=SECOND, result={"job": "j"})
            return Report(result={"nodes": {"succeeded": "n001", "failed": ""}}) if done else report

    Acting(bench, Job)
    bench.start(act(radius=radius(nodes=1)))
    bench.publish(about(1, 2))
    bench.broker.advance(MINUTE)

    assert calls == [("n001",), None, None]


def test_room_counts_a_node_once_and_says_when_the_next_is_free():
    members = Members(10, frozenset(), frozenset(), 0)
    acted = {"a": START, "b": None}

    found = room(radius(), ["a", "c"], acted, {}, members, START + 10 * MINUTE)

    assert (found.allowed, found.wait, found.reason) == (("a",), 50 * MINUTE, "2 nodes in 1h")
