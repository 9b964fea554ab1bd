"""The router over a broker in memory: what is published, what is acknowledged, and when."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from router.broker.outgoing.foreign_queues import QUIET
from router.broker.topology import EVENTS, HISTORY, INGRESS, INGRESS_QUEUES, REJECTED, base
from router.database import TooSlow
from router.errors import StateError
from router.model.bounds import EVENT, FINDINGS, REJECTED_BODIES, REJECTED_BODY
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.model.ids import new_id
from router.model.records import written
from router.pipeline.ingress.turns import RECORDS
from router.pipeline.mapping import event_of
from router.pipeline.reports import gap_acceptance
from router.pipeline.router import Router
from router.pipeline.state import State
from tests import adherence
from tests.broker.clock import Clock
from tests.broker.memory import Memory
from tests.broker.model import Model
from tests.nodes import NOON, Node, Sent

CATALOGUES = Catalogues.shipped()
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


class Mortal(Memory):
    """A line whose program can be killed: nothing that was to happen later happens."""

    dead = False

    def kill(self) -> None:
        """Kill the program: what it did not acknowledge goes back, what it did not send is gone."""
        self.dead = self.blocked = True
        self.drop()
        for queue in INGRESS_QUEUES:
            self.cancel(queue)

    def later(self, delay: timedelta, function: Callable[[], None]) -> Callable[[], None]:
        return super().later(delay, lambda: None if self.dead else function())

    def when_idle(self, function: Callable[[], None]) -> None:
        super().when_idle(lambda: None if self.dead else function())


class Bench:
    """A broker, a state, and routers over both, one at a time."""

    def __init__(self, url: str) -> None:
        self.url, self.clock = url, Clock(Model())
        self.memory = Memory(clock=self.clock)
        self.memory.declare(base())
        self.start()

    def now(self) -> datetime:
        return NOON + self.memory.now

    def start(self, **options: Any) -> None:
        self.state, self.line = State(self.url), Mortal(user="router", clock=self.clock)
        self.router = Router(
            broker=self.line, state=self.state, catalogues=CATALOGUES, clock=self.now, trusted={"operator"}, **options
        )
        self.router.start()
        self.memory.run()

    def restart(self, **options: Any) -> None:
        self.line.kill()
        self.state.close()
        self.start(**options)

    def send(self, *sent: Sent) -> None:
        for each in sent:
            self.memory.another(user=each.user or "").publish(each.message, lambda _: None)
        self.memory.run()

    def events(self) -> list[Event]:
        found = [Event.from_json(each.body) for each in self.stored(HISTORY)]
        for each in found:
            adherence.check(each)
        return found

    def told(self, name: str) -> list[Event]:
        return [each for each in self.events() if each.name == name]

    def stored(self, queue: str) -> list[Any]:
        return list(self.memory.model.queue(queue).ready)

    def owed(self) -> int:
        """How many records the broker still holds."""
        queues = [self.memory.model.queue(each) for each in INGRESS_QUEUES]
        return sum(len(each.ready) + sum(len(one.unsettled) for one in each.subscribers) for each in queues)


@pytest.fixture
def bench(database: Callable[[str], str]) -> Iterator[Bench]:
    bench = Bench(database("router"))
    yield bench
    bench.state.close()


def leave(node: Node, at: datetime = NOON, who: str = "n9") -> Sent:
    return node.record("nodeLeave", "--eventNode", who, "--myNode", node.name, at=at)


def test_a_record_becomes_an_event(bench: Bench) -> None:
    node = Node("nsd01")
    sent = node.record("softquotaexceeded", "--fsName", "gpfs1", "--filesetName", "projects", "--blockUsage", "12")

    bench.send(sent)

    (event,) = bench.told("softQuotaExceeded")
    assert event == Event(
        id=sent.id,
        type="gpfs.softQuotaExceeded",
        source="/gpfs/prod/nsd01",
        subject="gpfs1/projects",
        time="2026-11-20T12:00:00.000000000Z",
        dataschema="urn:clusterbus:gpfs:softQuotaExceeded:1",
        cluster="prod",
        node="nsd01",
        category="quota",
        severity="warning",
        scope="local",
        sequence="000000000001",
        sequencetype="PerEpoch",
        epoch=node.epoch,
        traceparent=event.traceparent,
        data={"eventName": "softQuotaExceeded", "fsName": "gpfs1", "filesetName": "projects", "blockUsage": 12},
    )
    message = next(each for each in bench.line.published if each.exchange == EVENTS and each.id == sent.id)
    assert message.key == "gpfs.prod.quota.softQuotaExceeded.gpfs1.nsd01"
    assert message.type == "gpfs.softQuotaExceeded"
    assert message.headers == {"traceparent": event.traceparent}
    assert bench.owed() == 0
    assert event.traceparent is not None


def test_a_router_publishes_events_and_its_own_reports_in_binary_mode_where_it_is_set(bench: Bench) -> None:
    bench.restart(wire="binary")
    node = Node("nsd01")

    bench.send(node.record("mount", "--fsName", "gpfs1"))
    node.epoch = new_id()
    bench.send(node.record("mount", "--fsName", "gpfs2"))

    published = [each for each in bench.line.published if each.exchange == EVENTS]
    assert {each.content_type for each in published} == {"application/json"}
    assert {"gpfs.mount", "clusterbus.epochStarted"} <= {each.headers.get("ce-type") for each in published}


def test_what_no_catalogue_knows_is_published_all_the_same(bench: Bench) -> None:
    node = Node("nsd01")

    bench.send(node.record("brandNew", "--fsName", "gpfs1"), node.record("jobDone", "--frame", "3", source="slurm"))

    known, strange = (each for each in bench.events() if each.origin != "clusterbus")
    assert (known.category, known.dataschema) == ("unknown", None)
    assert known.data == {"eventName": "brandNew", "fsName": "gpfs1"}
    assert (strange.type, strange.data) == ("slurm.jobDone", {"frame": "3"})


def test_values_that_do_not_fit_are_named(bench: Bench) -> None:
    bench.send(Node("nsd01").record("softQuotaExceeded", "--blockUsage", "lots", "--filesUsage", "caf\udce9"))

    (event,) = bench.told("softQuotaExceeded")
    assert event.malformed == "blockUsage filesUsage"


def test_a_record_that_was_cut_says_so(bench: Bench) -> None:
    bench.send(Node("nsd01").record("mount", "--fsName", "gpf").saying(cut={"bytes": 2_000_000, "kept": "x"}))

    assert bench.told("mount")[0].malformed == "arguments"


def test_copies_of_a_global_event_are_one_event(bench: Bench) -> None:
    nodes = [Node(f"n{number}") for number in range(5)]

    bench.send(*(leave(node, NOON + number * SECOND) for number, node in enumerate(nodes)))

    assert len(bench.told("nodeLeave")) == 1
    assert (bench.state.facts().copies, bench.owed()) == (4, 0)


def test_the_first_copy_of_another_node_is_reported_once_and_only_where_something_is_wrong(bench: Bench) -> None:
    first, second = leave(Node("n1")), leave(Node("n2"), NOON + SECOND)
    managers = [Node(name).record("clusterManagerTakeOver", "--clusterManager", "n8", at=NOON) for name in ("n1", "n2")]

    bench.send(first, *managers)
    assert bench.told("reportConfirmed") == []
    bench.send(second)
    bench.send(leave(Node("n3"), NOON + SECOND), second)
    bench.restart()
    bench.send(second, leave(Node("n4"), NOON + SECOND))

    # After a restart it may come again, under the same id.
    (confirmed,) = {each.id: each for each in bench.told("reportConfirmed")}.values()
    assert (confirmed.node, confirmed.data["eventId"], confirmed.data["eventType"]) == (
        "n2",
        first.id,
        "gpfs.nodeLeave",
    )
    report = Event.from_json(str(confirmed.data["report"]).encode())
    assert (report.id, report.node, report.data["eventNode"]) == (second.id, "n2", ["n9"])
    assert confirmed.moment > bench.told("nodeLeave")[0].moment


def test_a_second_node_confirms_what_every_node_reports_as_over_but_not_what_only_one_can(bench: Bench) -> None:
    for name in ("quorumReached", "nodeJoin", "quorumNodeJoin"):
        bench.send(*(Node(node).record(name, "--eventNode", "n8", at=NOON) for node in ("n1", "n2", "n3")))

    types = [each.data["eventType"] for each in bench.told("reportConfirmed")]
    assert types == ["gpfs.nodeJoin", "gpfs.quorumNodeJoin"]


def test_a_report_that_is_too_long_is_not_confirmed_and_no_event_is_cut(bench: Bench) -> None:
    names = ",".join(f"node{number:06}" for number in range(3000))

    bench.send(leave(Node("n1"), who=names), leave(Node("n2"), who=names))

    assert len(bench.told("nodeLeave")) == 1
    assert bench.told("reportConfirmed") == []


def test_a_node_cannot_report_that_another_one_confirms_it(bench: Bench) -> None:
    bench.send(Node("n1").record("reportConfirmed", "--report", "{}", source="clusterbus"))

    assert bench.told("reportConfirmed") == []
    assert len(bench.stored(REJECTED)) == 1


@pytest.mark.thorough
def test_a_router_that_is_restarted_between_the_copies_still_makes_one_event(bench: Bench) -> None:
    first, second, third = Node("n1"), Node("n2"), Node("n3")
    bench.send(leave(first))

    bench.restart()
    bench.send(leave(second, NOON + SECOND))
    bench.memory.advance(60 * MINUTE)
    bench.restart()
    bench.send(leave(third, NOON + 2 * SECOND))

    assert len(bench.told("nodeLeave")) == 1


def test_the_same_twice_is_two_events(bench: Bench) -> None:
    first, second = Node("n1"), Node("n2")

    bench.send(leave(first), leave(second), leave(first, NOON + 30 * SECOND), leave(second, NOON + 30 * SECOND))

    assert len(bench.told("nodeLeave")) == 2


def test_a_record_that_comes_again_is_the_same_event_whoever_routes_it(bench: Bench) -> None:
    sent = Node("n1").record("mount", "--fsName", "gpfs1")
    bench.send(sent)

    bench.restart()
    bench.send(sent, sent)

    events = bench.told("mount")
    assert {each.id for each in events} == {sent.id}
    assert len({each.to_json() for each in events}) == 1
    assert bench.state.facts().records == 1


def test_a_copy_that_comes_again_is_still_a_copy(bench: Bench) -> None:
    copy = leave(Node("n2"), NOON + SECOND)
    bench.send(leave(Node("n1")), copy)

    bench.restart()
    bench.send(copy)

    assert len(bench.told("nodeLeave")) == 1


def test_nothing_is_acknowledged_before_the_event_is_confirmed(bench: Bench) -> None:
    bench.line.blocked = True
    records = [Node(f"n{number}").record("mount") for number in range(3)]
    bench.send(*records)
    assert bench.owed() == 3

    bench.line.blocked = False
    bench.memory.run()

    assert bench.owed() == 0
    assert len(bench.told("mount")) == 3


def test_a_record_that_comes_again_while_its_event_is_on_its_way_is_not_published_twice(bench: Bench) -> None:
    bench.line.blocked = True
    bench.send(Node("n1").record("mount"))

    bench.line.drop()
    bench.memory.run()
    bench.line.blocked = False
    bench.memory.run()

    assert len(bench.told("mount")) == 1
    assert bench.owed() == 0


def test_a_router_killed_between_commit_and_publishing_makes_the_same_event(bench: Bench) -> None:
    sent = Node("n1").record("mount")
    bench.line.blocked = True
    bench.send(sent)
    assert bench.events() == []
    assert bench.state.facts().events == 1

    bench.restart()
    bench.memory.run()

    assert [each.id for each in bench.told("mount")] == [sent.id]


def test_while_the_state_fails_nothing_is_acknowledged_and_then_all_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise OperationalError("INSERT", {}, Exception("disk full"))

    monkeypatch.setattr(bench.state._engine, "connect", broken)
    node = Node("n1")
    bench.send(*(node.record("mount", "--fsName", f"fs{number}") for number in range(3)))
    bench.memory.advance(MINUTE)
    bench.send(node.record("mount", "--fsName", "fs3"))
    assert bench.events() == []
    assert bench.owed() == 4

    monkeypatch.undo()
    bench.memory.advance(10 * SECOND)

    assert [each.data["fsName"] for each in bench.told("mount")] == ["fs0", "fs1", "fs2", "fs3"]
    assert bench.owed() == 0
    said = [each.getMessage() for each in caplog.records if each.name == "router.database.outages"]
    assert said == ["the database cannot be used, its work waits", "the database can be used again"]


def test_a_state_that_is_too_slow_for_a_batch_gets_a_smaller_one_and_the_order_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = bench.router._route, []

    def slow(batch: list[Any]) -> None:
        sizes.append(len(batch))
        if len(batch) > 7:
            raise StateError("router.db cannot be written") from TooSlow("no answer within 10 s")
        real(batch)

    monkeypatch.setattr(bench.router, "_route", slow)
    node = Node("n1")
    bench.send(*(node.record("mount", "--fsName", f"fs{number}") for number in range(30)))
    bench.memory.advance(MINUTE)

    assert [each.data["fsName"] for each in bench.told("mount")] == [f"fs{number}" for number in range(30)]
    assert bench.owed() == 0
    assert sizes[:3] == [30, 15, 7]


def test_an_own_event_whose_commit_only_seemed_to_fail_is_published_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bench.state.transaction
    calls = iter([True])

    def unsure() -> Any:
        @contextmanager
        def work() -> Iterator[Any]:
            with real() as transaction:
                yield transaction
            if next(calls, False):
                raise StateError("connection lost while committing")

        return work()

    monkeypatch.setattr(bench.state, "transaction", unsure)

    bench.send(Node("n1").record("mount"))
    bench.memory.advance(SECOND)

    assert len(bench.told("epochStarted")) == 1
    assert len(bench.told("mount")) == 1


@pytest.mark.thorough
def test_many_records_are_routed_in_order_in_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    transactions: list[Any] = []

    def counted() -> Any:
        transactions.append(State.transaction(bench.state))
        return transactions[-1]

    monkeypatch.setattr(bench.state, "transaction", counted)
    node = Node("n1")
    count = 3 * RECORDS + 50

    bench.send(*(node.record("mount", "--fsName", f"fs{number}") for number in range(count)))

    assert [each.data["fsName"] for each in bench.told("mount")] == [f"fs{number}" for number in range(count)]
    assert bench.owed() == 0
    assert len(transactions) <= 8


def forged(sent: Sent) -> list[tuple[Sent, str]]:
    return [
        (sent.but(user="n2"), "user 'n2' published as node 'n1'"),
        (sent.saying(node="n2"), "the body says node 'n2'"),
        (sent.but(headers=sent.headers | {"CC": "gpfs.prod.mount.n2"}), "a CC or BCC header"),
        (sent.but(body=b"\x00\xff\xfe random"), "the body is not JSON"),
        (sent.but(key="what.ever"), "ingress key 'what.ever'"),
        (
            sent.but(key="clusterbus.prod.nodeSilent.n1").saying(source="clusterbus", event="nodeSilent"),
            "a node may not report",
        ),
        (sent.but(key=f"gpfs.{'c' * 101}.mount.n1"), f"ingress key 'gpfs.{'c' * 101}"),
    ]


@pytest.mark.parametrize("number", range(7))
def test_what_cannot_be_believed_is_kept_with_the_reason_and_told_of(bench: Bench, number: int) -> None:
    bad, reason = forged(Node("n1").record("mount"))[number]

    bench.send(bad)

    (kept,) = bench.stored(REJECTED)
    assert (kept.body, kept.key, kept.id) == (bad.body, bad.key, bad.id)
    assert reason in kept.headers["reason"]
    assert (kept.headers["claimed-key"], kept.headers["origin-user"]) == (bad.key, bad.user)
    assert kept.headers["sequence"] == 1
    (told,) = bench.events()
    assert (told.name, told.node) == ("recordRejected", bad.user)
    assert reason in str(told.data["reason"])
    assert bench.owed() == 0


def test_what_is_rejected_does_not_count_as_heard(bench: Bench) -> None:
    bench.send(Node("n1").record("mount").but(user="n2"))

    assert bench.state.facts().nodes == 0


def test_a_record_of_another_node_under_a_known_id_does_not_become_its_event(bench: Bench) -> None:
    real = Node("n1").record("mount", "--fsName", "gpfs1")
    bench.send(real)

    bench.send(Node("n2").record("mount", "--fsName", "evil", id_=real.id))

    assert [each.data["fsName"] for each in bench.told("mount")] == ["gpfs1"]
    assert "belongs to a record of node 'n1'" in bench.stored(REJECTED)[0].headers["reason"]


def test_of_a_flood_of_garbage_some_is_kept_and_all_is_counted_in_two_events(bench: Bench) -> None:
    loud, other = Node("n1"), Node("n2")

    bench.send(*(loud.record("mount").but(body=b"garbage") for _ in range(300)), other.record("mount").but(body=b"x"))
    bench.memory.advance(2 * MINUTE)

    kept = [each.headers["origin-user"] for each in bench.stored(REJECTED)]
    assert (kept.count("n1"), kept.count("n2")) == (REJECTED_BODIES, 1)
    told = [each.data for each in bench.told("recordRejected") if each.node == "n1"]
    assert [(each["count"], each["dropped"]) for each in told] == [(1, 0), (299, 100)]
    assert bench.owed() == 0


@pytest.mark.thorough
def test_rejected_records_are_kept_again_after_an_hour(bench: Bench) -> None:
    node = Node("n1")
    bench.send(*(node.record("mount").but(body=b"garbage") for _ in range(REJECTED_BODIES + 1)))

    bench.memory.advance(61 * MINUTE)
    bench.send(node.record("mount").but(body=b"garbage"))

    assert len(bench.stored(REJECTED)) == REJECTED_BODIES + 1


def test_a_record_that_nobody_thought_of_is_rejected_and_the_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(record: Any, *_: Any) -> Any:
        if record.event == "preMount":
            raise ZeroDivisionError("surprise")
        return real(record, *_)

    real = event_of
    monkeypatch.setattr("router.pipeline.decisions.event_of", surprise)

    bench.send(Node("n1").record("preMount"), Node("n2").record("mount"))

    assert "the router failed on this record: ZeroDivisionError" in bench.stored(REJECTED)[0].headers["reason"]
    assert len(bench.told("mount")) == 1


def test_a_rejected_record_that_the_broker_refuses_is_replaced_by_its_facts(bench: Bench) -> None:
    node, bad = Node("n1"), Node("n1").record("mount").but(body=b"garbage")
    bench.send(node.record("mount"))  # a node's first record also binds it to its shard
    bench.line.refuse_next()

    bench.send(bad)

    (kept,) = bench.stored(REJECTED)
    assert (kept.body, kept.id, kept.headers["cut"]) == (b"", bad.id, len(bad.body))
    assert kept.headers["sha256"] == hashlib.sha256(bad.body).hexdigest()
    assert (kept.headers["origin-user"], kept.headers["reason"][:20]) == ("n1", "the body is not JSON")
    assert bench.owed() == 0


def test_a_rejected_record_whose_facts_are_refused_too_is_settled(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.send(Node("n1").record("mount"))
    garbage = [Node("n1").record("mount").but(body=b"garbage") for _ in range(2)]
    bench.send(garbage[0])
    bench.line.refuse_next(2)

    bench.send(garbage[1])
    bench.memory.advance(MINUTE)

    assert [each.id for each in bench.stored(REJECTED)] == [garbage[0].id]
    assert "broker refused the facts of a rejected record too, it is lost" in caplog.messages
    assert len(bench.told("recordRejected")) == 2
    assert bench.owed() == 0


def test_of_a_long_rejected_record_the_beginning_is_kept(bench: Bench) -> None:
    body = b"x" * (REJECTED_BODY + 1)

    bench.send(Node("n1").record("mount").but(body=body))

    (kept,) = bench.stored(REJECTED)
    assert (kept.body, kept.headers["cut"]) == (body[:-1], len(body))
    assert kept.headers["sha256"] == hashlib.sha256(body).hexdigest()


def test_an_event_that_is_too_rich_is_cut_and_published(bench: Bench) -> None:
    words = [word for number in range(1200) for word in (f"--v{number}", "\udce9" * 100)]

    bench.send(Node("n1").record("mount", "--fsName", "gpfs1", *words))

    (event,) = bench.told("mount")
    assert event.data["fsName"] == "gpfs1"
    assert "arguments" in (event.malformed or "")
    assert len(event.to_json()) <= EVENT


def test_a_time_of_the_future_is_replaced_by_that_of_arrival_and_marked_beyond_the_skew_of_clocks(bench: Bench) -> None:
    node = Node("n1")
    far = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    near = [NOON + 4 * MINUTE, NOON + 6 * MINUTE, datetime(1969, 12, 31, tzinfo=UTC)]
    sent = [node.record("mount").saying(captured_at=written(each)) for each in (far, *near)]

    bench.send(*sent)
    first = {each.id: each for each in bench.told("mount")}
    bench.memory.advance(10 * MINUTE)
    bench.send(*sent)

    arrived = written(NOON)
    found = [(first[each.id].time, first[each.id].malformed) for each in sent]
    assert found == [(arrived, "time"), (arrived, None), (arrived, "time"), (arrived, "time")]
    assert {each.to_json() for each in bench.told("mount")} == {each.to_json() for each in first.values()}


def test_claims_of_the_future_silence_nobody(bench: Bench) -> None:
    evil, honest = Node("evil"), [Node(f"n{number}") for number in range(6)]
    bench.send(*(leave(evil, NOON + number * 10 * SECOND) for number in range(30)))
    planted = len(bench.told("nodeLeave"))

    bench.memory.advance(2 * MINUTE)
    bench.send(*(leave(each, bench.now()) for each in honest))

    told = bench.told("nodeLeave")
    assert (planted, len(told)) == (30, 31)
    assert told[-1].node == "n0"


def test_another_content_under_a_known_id_is_rejected_and_the_event_stays(bench: Bench) -> None:
    node = Node("n1")
    first = node.record("mount", "--fsName", "gpfs1")
    bench.send(first)
    other = node.record("mount", "--fsName", "evil", id_=first.id)
    elsewhere = first.but(key=first.key.replace("prod", "test"))

    bench.send(other, elsewhere)
    bench.restart()
    bench.send(other, first)

    assert {each.data["fsName"] for each in bench.told("mount")} == {"gpfs1"}
    reasons = [each.headers["reason"] for each in bench.stored(REJECTED)]
    assert reasons == [f"record id {first.id} belongs to a record with other content"] * 3


@pytest.mark.thorough
def test_a_node_that_invents_spools_and_holes_is_told_of_a_few_times_and_then_once_a_minute(bench: Bench) -> None:
    liar, honest = Node("n1"), Node("n2")
    spools = [Node("n1").epoch for _ in range(200)]
    bench.send(*(liar.record("mount").but(headers={"epoch": epoch, "sequence": 1}) for epoch in spools))
    holes = [liar.record("mount").but(headers={"epoch": spools[-1], "sequence": 2 * n}) for n in range(2, 300)]

    bench.send(*holes, honest.record("mount"))
    bench.memory.advance(10 * MINUTE)

    started = [each for each in bench.told("epochStarted") if each.node == "n1"]
    assert [each.data.get("reports", 1) for each in started] == [1] * FINDINGS + [200 - FINDINGS]
    opened = bench.told("gapOpened")
    assert len(opened) == FINDINGS + 1
    assert sum(each.data.get("reports", 1) for each in opened) == len(holes)  # type: ignore[misc]
    assert len([each for each in bench.told("epochStarted") if each.node == "n2"]) == 1


@pytest.mark.parametrize("origin", ["n2", "", 7])
def test_a_record_that_is_published_again_is_judged_by_its_origin(bench: Bench, origin: object) -> None:
    sent = Node("n1").record("mount")

    bench.send(sent.but(user="operator", headers={"origin-user": origin}))

    (kept,) = bench.stored(REJECTED)
    assert kept.headers.get("origin-user") == (origin if origin == "n2" else None)
    assert bench.told("mount") == []
    bench.send(sent.but(user="operator", headers={"origin-user": "n1"}))
    assert len(bench.told("mount")) == 1


def test_a_node_cannot_name_another_origin(bench: Bench) -> None:
    sent = Node("n1").record("mount")

    bench.send(
        sent.but(user="n2", headers={"origin-user": "n1"}), sent.but(user="n2", headers={"origin-user": "operator"})
    )

    assert [each.headers["origin-user"] for each in bench.stored(REJECTED)] == ["n2", "n2"]
    assert bench.told("mount") == []


def test_an_event_that_the_broker_will_never_take_is_kept_as_a_record(bench: Bench) -> None:
    sent = Node("n1").record("mount", "--fsName", "gpfs1")
    bench.send(Node("n1").record("mount"))  # a node's first record also binds it to its shard
    bench.line.refuse_next()

    bench.send(sent)
    bench.memory.advance(MINUTE)

    assert bench.stored(REJECTED)[0].body == sent.body
    assert bench.told("recordRejected")[0].data["reason"] == "the broker refuses its event"
    assert bench.owed() == 0


def test_an_event_that_no_queue_takes_is_kept_until_one_does(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for queue in (HISTORY, "clusterbus.unrouted"):
        bench.memory.delete(queue)
    bench.send(Node("n1").record("mount"))
    bench.memory.advance(MINUTE)
    assert bench.owed() == 1
    assert caplog.messages.count("no queue accepts a message; run: clusterbus broker setup") > 1

    bench.memory.declare(base())
    bench.memory.advance(10 * SECOND)

    assert len(bench.told("mount")) == 1
    assert bench.owed() == 0


def test_a_new_spool_is_told_of(bench: Bench) -> None:
    old, new = Node("n1"), Node("n1")

    bench.send(old.record("mount"), new.record("mount"))

    assert [each.data["previousEpoch"] for each in bench.told("epochStarted")] == [None, old.epoch]


def test_a_gap_is_told_of_and_its_end_too(bench: Bench) -> None:
    node = Node("n1")
    first = node.record("mount")
    missing = [node.record("mount") for _ in range(3)]
    bench.send(first, node.record("mount"))
    bench.memory.advance(2 * MINUTE)
    (opened,) = bench.told("gapOpened")

    bench.restart()
    bench.send(*missing)

    (closed,) = bench.told("gapClosed")
    assert opened.data == closed.data == {"node": "n1", "epoch": node.epoch, "first": 2, "last": 4, "count": 3}
    assert opened.topic == "clusterbus.prod.continuity.gapOpened.n1.n1"
    assert bench.state.facts().missing == 0


def test_a_gap_that_a_person_accepts_is_told_of_by_the_running_router(bench: Bench) -> None:
    node, other = Node("n1"), Node("n2")
    for each in (node, other):
        first = each.record("mount")
        missing = each.record("mount")
        bench.send(first, each.record("mount"))
    bench.memory.advance(2 * MINUTE)

    listed = gap_acceptance.missing(bench.state, {"n1"})
    done = gap_acceptance.accept(bench.state, {"n1"}, CATALOGUES, bench.now(), by="alice", comment="disk replaced")
    bench.memory.advance(MINUTE)
    bench.send(missing)

    assert (
        done == listed == [gap_acceptance.Missing("prod", "n1", node.epoch, 2, 2, 1, written(NOON), may_forget=False)]
    )
    (event,) = bench.told("gapAccepted")
    about = {"node": "n1", "epoch": node.epoch, "first": 2, "last": 2, "count": 1}
    assert event.data == about | {"by": "alice", "comment": "disk replaced"}
    assert [each.data["node"] for each in bench.told("gapClosed")] == ["n2"]
    assert gap_acceptance.missing(bench.state, None) == []
    assert bench.owed() == 0


def test_a_heartbeat_is_no_event_and_shows_a_gap_at_the_end(bench: Bench) -> None:
    node = Node("n1")
    bench.send(node.record("mount"))
    node.skip(2)

    bench.send(node.heartbeat())
    bench.memory.advance(2 * MINUTE)

    assert bench.told("heartbeat") == []
    assert bench.told("gapOpened")[0].data["count"] == 2
    assert bench.owed() == 0


def beats(bench: Bench, minutes: int, *nodes: Node) -> None:
    for _ in range(minutes):
        bench.send(*(node.heartbeat(bench.now()) for node in nodes))
        bench.memory.advance(MINUTE)


def test_a_node_that_stops_beating_is_silent_once_and_then_back(bench: Bench) -> None:
    quiet, other = Node("n1"), Node("n2")
    beats(bench, 2, quiet, other)

    beats(bench, 6, other)
    assert [each.node for each in bench.told("nodeSilent")] == ["n1"]
    assert bench.state.facts().silent == 1
    beats(bench, 2, quiet, other)

    assert [each.node for each in bench.told("nodeBack")] == ["n1"]
    assert bench.state.facts().silent == 0


def test_nobody_is_silent_after_a_time_in_which_nobody_was_heard(bench: Bench) -> None:
    one, other = Node("n1"), Node("n2")
    beats(bench, 3, one, other)

    bench.memory.advance(30 * MINUTE)
    beats(bench, 1, one)
    beats(bench, 1, other)

    assert bench.told("nodeSilent") == []


@pytest.mark.thorough
def test_a_node_that_was_silent_while_the_router_was_down_has_its_time_again(bench: Bench) -> None:
    one, other = Node("n1"), Node("n2")
    beats(bench, 2, one, other)
    bench.line.cancel(INGRESS)
    bench.memory.advance(60 * MINUTE)

    bench.restart()
    beats(bench, 2, one)

    assert bench.told("nodeSilent") == []


def test_the_outbox_of_a_router_that_was_killed_is_published_by_the_next(bench: Bench) -> None:
    bench.line.blocked = True
    bench.send(Node("n1").record("mount"))
    assert bench.state.facts().outbox == 1

    bench.restart()
    bench.memory.run()
    bench.memory.advance(MINUTE)

    assert len(bench.told("epochStarted")) == 1
    assert bench.state.facts().outbox == 0


def test_what_is_old_is_forgotten_a_portion_after_the_other(bench: Bench) -> None:
    bench.restart(keep=10 * MINUTE)
    node = Node("n1")
    bench.send(*(node.record("mount") for _ in range(RECORDS)))
    assert bench.state.facts().records == RECORDS

    bench.memory.advance(11 * MINUTE)

    assert bench.state.facts().records == 0


def test_a_relays_own_reports_are_events(bench: Bench) -> None:
    bench.send(
        Node("n1").record("eventsLost", "--count", "3", "--reason", "spool full", "--total", "17", source="clusterbus")
    )

    (event,) = bench.told("eventsLost")
    assert event.data == {"count": 3, "reason": "spool full", "total": 17}
    assert (event.severity, event.category) == ("critical", "relay")


def test_a_trusted_user_may_speak_for_any_node_without_numbers(bench: Bench) -> None:
    sent = Node("n1").record("mount", "--fsName", "gpfs1").but(user="operator", headers={})

    bench.send(sent)

    (event,) = bench.events()
    assert (event.node, event.sequence, event.epoch) == ("n1", None, None)


@pytest.mark.parametrize("epochs", [20])
def test_a_node_that_makes_up_epochs_harms_only_itself(bench: Bench, epochs: int) -> None:
    liar, honest = Node("n1"), Node("n2")
    spools = [Node("n1").epoch for _ in range(epochs)] * 2
    bench.send(*(liar.record("mount").but(headers={"epoch": epoch, "sequence": 2**63 - 1}) for epoch in spools))

    bench.send(honest.record("mount"))
    bench.memory.advance(2 * MINUTE)

    assert len(bench.told("mount")) == 2 * epochs + 1
    assert bench.owed() == 0
    assert bench.state.facts().missing > 0


def test_the_body_of_an_event_is_json_of_the_right_shape(bench: Bench) -> None:
    bench.send(Node("n1").record("preShutdown", "--reason", "%reason"))

    body: dict[str, Any] = json.loads(bench.stored(HISTORY)[-1].body)

    assert body["specversion"] == "1.0"
    assert {"id", "type", "source", "time", "datacontenttype", "cluster", "node", "data"} <= body.keys()


@pytest.mark.parametrize("key", ["gpfs.prod.{event}.{node}", "gpfs.{event}.mount.{node}", "g s.p d.m,t.{node}"])
def test_a_flood_under_any_key_is_told_of_and_ends_nothing(bench: Bench, key: str) -> None:
    honest, loud = Node("honest"), Node("loud")
    record = loud.record("mount")
    bench.send(honest.record("mount"))
    bench.send(*(record.but(key=key.format(event="e" * 150, node="loud")) for _ in range(2000)))
    bench.send(last := honest.record("mount"))
    bench.memory.advance(MINUTE)

    assert last.id in {each.id for each in bench.events()}
    assert [each.node for each in bench.told("nodeFlooding")] == ["loud"]
    assert bench.owed() == 0


@pytest.mark.thorough
def test_while_the_broker_is_slow_to_confirm_whose_turn_is_next_is_still_open(bench: Bench) -> None:
    honest, busy = Node("honest"), [Node(f"busy{number}") for number in range(3)]
    bench.send(*(each.record("mount") for each in [honest, *busy]))
    bench.line.blocked = True
    bench.send(*(busy[number % 3].record("mount") for number in range(9 * RECORDS)))

    bench.send(last := honest.record("mount"))
    bench.line.blocked = False
    bench.memory.run()

    ids = [each.id for each in bench.told("mount")]
    assert len(ids) == 9 * RECORDS + 5
    assert ids.index(last.id) < 5 * RECORDS, "behind three batches and a round, not behind all that had come before it"


def test_queues_of_others_that_refuse_are_told_of_once_and_are_in_the_state(bench: Bench) -> None:
    bench.memory.advance(MINUTE)
    for refusals in (3, 8, 8):
        bench.line.refusals = refusals
        bench.memory.advance(MINUTE)
        assert bench.state.facts().refusals == refusals
    since = bench.state.facts().refused_since
    assert since is not None
    assert since < bench.now() - MINUTE

    bench.line.refusals = 0
    bench.memory.advance(MINUTE)

    (begun,), (ended,) = bench.told("queueRefusing"), bench.told("queueRefusingEnded")
    assert (begun.severity, begun.subject, begun.data) == (
        "error",
        EVENTS,
        {"exchange": EVENTS, "count": 3},
    )
    assert (ended.severity, ended.data) == ("notice", {"exchange": EVENTS, "count": 8})
    assert (bench.state.facts().refusals, bench.state.facts().refused_since) == (0, None)


def begin_to_refuse(bench: Bench) -> None:
    bench.line.refusals = 5
    bench.memory.advance(MINUTE)
    assert len(bench.told("queueRefusing")) == 1


def test_that_queues_refuse_no_more_is_told_of_after_a_restart_once_events_were_taken_for_a_while(bench: Bench) -> None:
    node = Node("n1")
    begin_to_refuse(bench)
    bench.restart()

    bench.send(node.record("mount"))
    bench.memory.advance(QUIET - 5 * SECOND)
    assert bench.state.facts().refusals == 5
    bench.memory.advance(10 * MINUTE)
    assert bench.state.facts().refusals == 5, "what was taken at once may have been for a last free place"
    bench.send(node.record("mount"))
    bench.memory.advance(MINUTE)

    (ended,) = bench.told("queueRefusingEnded")
    assert ended.data == {"exchange": EVENTS, "count": 5}
    assert bench.state.facts().refusals == 0
    bench.restart()
    bench.send(node.record("mount"))
    bench.memory.advance(MINUTE)
    assert len(bench.told("queueRefusingEnded")) == 1


def test_queues_that_refuse_after_a_restart_too_are_not_told_of_again(bench: Bench) -> None:
    begin_to_refuse(bench)
    since = bench.state.facts().refused_since
    bench.restart()
    bench.memory.advance(MINUTE)

    bench.line.refusals = 2
    bench.memory.advance(MINUTE)

    assert (bench.state.facts().refusals, bench.state.facts().refused_since) == (7, since)
    assert len(bench.told("queueRefusing")) == 1
    bench.line.refusals = 0
    bench.memory.advance(MINUTE)
    assert [each.data["count"] for each in bench.told("queueRefusingEnded")] == [7]


def test_a_standby_ends_nothing_that_the_other_router_still_sees(bench: Bench) -> None:
    begin_to_refuse(bench)
    active = bench.line
    state = State(bench.url)
    standby = Mortal(user="router", clock=bench.clock)
    router = Router(broker=standby, state=state, catalogues=CATALOGUES, clock=bench.now)
    router.start()

    for _ in range(5):
        bench.memory.advance(MINUTE)
        active.refusals += 1

    assert (bench.state.facts().refusals, bench.told("queueRefusingEnded")) == (9, [])
    active.refusals = 0
    bench.memory.advance(MINUTE)
    # Each router publishes what is in the outbox.
    ((_, count),) = {(each.id, each.data["count"]) for each in bench.told("queueRefusingEnded")}
    assert count == 9
    assert len({each.id for each in bench.told("queueRefusing")}) == 1
    standby.kill()
    state.close()
