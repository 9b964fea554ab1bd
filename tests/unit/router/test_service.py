"""The router over a broker in memory: what is published, what is acknowledged, and when."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from router.broker.clock import Clock
from router.broker.memory import Memory
from router.broker.model import Model
from router.broker.topology import EVENTS, HISTORY, INGRESS, REJECTED, base
from router.catalogue import Catalogues
from router.errors import StateError
from router.events import Event
from router.service import BATCH, Router
from router.state import State
from router.translation import event_of
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
        self.cancel(INGRESS)

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
        return [Event.from_json(each.body) for each in self.stored(HISTORY)]

    def told(self, name: str) -> list[Event]:
        return [each for each in self.events() if each.name == name]

    def stored(self, queue: str) -> list[Any]:
        return list(self.memory.model.queue(queue).ready)

    def owed(self) -> int:
        """How many records the broker still holds."""
        held = self.memory.model.queue(INGRESS)
        return len(held.ready) + sum(len(each.unsettled) for each in held.subscribers)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(f"sqlite:///{tmp_path}/router.db")
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
        epoch=node.epoch,
        traceparent=event.traceparent,
        data={"fsName": "gpfs1", "filesetName": "projects", "blockUsage": 12},
    )
    message = next(each for each in bench.line.published if each.exchange == EVENTS and each.id == sent.id)
    assert message.key == "gpfs.prod.quota.softQuotaExceeded.gpfs1.nsd01"
    assert message.type == "gpfs.softQuotaExceeded"
    assert message.headers == {"traceparent": event.traceparent}
    assert bench.owed() == 0
    assert event.traceparent is not None


def test_what_no_catalogue_knows_is_published_all_the_same(bench: Bench) -> None:
    node = Node("nsd01")

    bench.send(node.record("brandNew", "--fsName", "gpfs1"), node.record("jobDone", "--frame", "3", source="slurm"))

    known, strange = (each for each in bench.events() if each.origin != "clusterbus")
    assert (known.category, known.data, known.dataschema) == ("unknown", {"fsName": "gpfs1"}, None)
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
    assert (bench.state.facts().copies, bench.router.counters.copies, bench.owed()) == (4, 4, 0)


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
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise StateError("router.db cannot be written: disk full")

    monkeypatch.setattr(bench.state, "transaction", broken)
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
    assert bench.router.counters.state_failures > 3


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


def test_many_records_are_routed_in_order_in_batches(bench: Bench) -> None:
    node = Node("n1")
    count = 3 * BATCH + 50

    bench.send(*(node.record("mount", "--fsName", f"fs{number}") for number in range(count)))

    assert [each.data["fsName"] for each in bench.told("mount")] == [f"fs{number}" for number in range(count)]
    assert bench.owed() == 0
    assert bench.router.counters.batches <= 8


def forged(sent: Sent) -> list[tuple[Sent, str]]:
    return [
        (sent.but(user="n2"), "user 'n2' published as node 'n1'"),
        (sent.saying(node="n2"), "the body says node 'n2'"),
        (sent.but(headers=sent.headers | {"CC": "gpfs.prod.mount.n2"}), "a CC or BCC header"),
        (sent.but(body=b"\x00\xff\xfe random"), "the body is not JSON"),
        (sent.but(key="what.ever"), "ingress key 'what.ever'"),
        (
            sent.but(key="clusterbus.prod.nodeSilent.n1").saying(source="clusterbus", event="nodeSilent"),
            "not for a node",
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
    assert "one of node 'n1'" in bench.stored(REJECTED)[0].headers["reason"]


def test_a_flood_of_garbage_is_kept_whole_and_told_of_twice(bench: Bench) -> None:
    node = Node("n1")

    bench.send(*(node.record("mount").but(body=b"garbage") for _ in range(300)))
    bench.memory.advance(2 * MINUTE)

    assert len(bench.stored(REJECTED)) == 300
    assert [each.data["count"] for each in bench.told("recordRejected")] == [1, 299]


def test_a_record_that_nobody_thought_of_is_rejected_and_the_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(record: Any, *_: Any) -> Any:
        if record.event == "preMount":
            raise ZeroDivisionError("surprise")
        return real(record, *_)

    real = event_of
    monkeypatch.setattr("router.batches.event_of", surprise)

    bench.send(Node("n1").record("preMount"), Node("n2").record("mount"))

    assert "the router failed on it: ZeroDivisionError" in bench.stored(REJECTED)[0].headers["reason"]
    assert len(bench.told("mount")) == 1


def test_an_event_that_the_broker_will_never_take_is_kept_as_a_record(bench: Bench) -> None:
    sent = Node("n1").record("mount", "--fsName", "gpfs1")
    bench.line.refuse_next()

    bench.send(sent)
    bench.memory.advance(MINUTE)

    assert bench.stored(REJECTED)[0].body == sent.body
    assert bench.told("recordRejected")[0].data["reason"] == "the broker will never take its event"
    assert bench.owed() == 0


def test_an_event_that_no_queue_takes_is_kept_until_one_does(bench: Bench) -> None:
    for queue in (HISTORY, "clusterbus.unrouted"):
        bench.memory.delete(queue)
    bench.send(Node("n1").record("mount"))
    bench.memory.advance(MINUTE)
    assert bench.owed() == 1
    assert bench.router.counters.unrouted > 1

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
    bench.send(*(node.record("mount") for _ in range(BATCH)))
    assert bench.state.facts().records == BATCH

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
