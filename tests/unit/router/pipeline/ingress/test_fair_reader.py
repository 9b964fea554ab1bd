"""The reader of all ingress queues over a broker in memory: what it gives, in which order, and where it binds nodes."""

from datetime import datetime, timedelta

import pytest

from router.broker.interface import Message
from router.broker.outgoing.outbox import Settled
from router.broker.topology import QUARANTINE, base, shard_of
from router.pipeline.ingress.fair_reader import Ingress
from router.pipeline.ingress.flood_detection import BURST_RECORDS, QUIET
from tests.broker.memory import Memory
from tests.nodes import NOON, Node, Sent

SECOND = timedelta(seconds=1)


class Reader:
    """An ingress, and nodes that publish to it."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self.memory.declare(base())
        self.ingress = Ingress(self.memory, self.now, arrived=lambda: None)
        self.ingress.start()
        self.memory.run()

    def another(self) -> "Reader":
        """Return a second reader of the same queues, which stands by."""
        return Reader(self.memory.another(user="guest"))

    def now(self) -> datetime:
        return NOON + self.memory.now

    def send(self, *sent: Sent) -> list[str]:
        for each in sent:
            self.memory.another(user=each.user or "").publish(each.message, lambda _: None)
        self.memory.run()
        return [each.id for each in sent]

    def take(self) -> list[str]:
        """Return the ids of the next batch, which is dealt with at once."""
        taken = self.ingress.take()
        self.ingress.done()
        for each in taken:
            self.memory.ack(each)
        self.memory.run()
        return [each.id for each in taken]

    def take_all(self) -> list[str]:
        """Return the ids of all that there is to take, in their order."""
        taken: list[str] = []
        while (due := self.ingress.due()) is not None:
            self.memory.advance(due)
            taken += self.take()
        return taken

    def met(self, name: str) -> Node:
        """Return a node that is bound to its shard."""
        node = Node(name)
        self.send(node.record("mount"))
        self.take_all()
        return node


@pytest.fixture
def reader() -> Reader:
    return Reader()


def burst(node: Node, count: int = 2 * BURST_RECORDS) -> list[Sent]:
    return [node.record("mount") for _ in range(count)]


def twins() -> tuple[str, str]:
    """Return two names that lead to one shard."""
    other = next(name for number in range(1000) if shard_of(name := f"twin{number}") == shard_of("loud"))
    return "loud", other


def test_a_record_does_not_wait_behind_what_a_flooding_node_sent_into_their_queue_before(reader: Reader) -> None:
    loud, twin = map(reader.met, twins())
    reader.memory.advance(2 * SECOND)
    first = reader.send(twin.record("mount"))
    reader.send(*burst(loud, 1500))

    last = reader.send(twin.record("mount"))

    assert reader.take()[:2] == first + last


def test_a_newcomer_does_not_wait_behind_what_a_newcomer_sent_before_it_was_set_aside(reader: Reader) -> None:
    honest, loud, newcomer = reader.met("honest"), Node("loud"), Node("newcomer")
    reader.memory.advance(2 * SECOND)
    sent = reader.send(honest.record("mount"))
    loud_records, other = burst(loud, 400), newcomer.record("mount")

    # Before the router has bound any of them.
    for each in (*loud_records, other):
        reader.memory.another(user=each.user or "").publish(each.message, lambda _: None)
    reader.memory.run()

    assert reader.take() == [*sent, other.id]


def test_a_flood_that_comes_first_is_set_aside_in_order(reader: Reader) -> None:
    loud, honest = reader.met("loud"), reader.met("honest")
    reader.memory.advance(2 * SECOND)
    flood = reader.send(*burst(loud))
    others = reader.send(honest.record("mount"))
    flood += reader.send(*burst(loud))
    others += reader.send(honest.record("mount"))

    assert reader.take() == others
    assert reader.take_all() == flood
    assert not reader.memory.model.queue(QUARANTINE).ready


def test_a_newcomer_that_floods_is_set_aside_at_once_and_in_order(reader: Reader) -> None:
    honest, loud = reader.met("honest"), Node("loud")
    sent = reader.send(honest.record("mount"))
    flood = reader.send(*burst(loud)) + reader.send(*burst(loud))
    # It is in the quarantine now.
    flood += reader.send(*burst(loud, 30))

    taken = reader.take_all()

    assert taken[:1] == sent
    assert taken[1:] == flood


def test_a_marker_that_a_full_queue_refuses_is_sent_again_and_the_nodes_records_wait_for_it(reader: Reader) -> None:
    loud, honest = reader.met("loud"), reader.met("honest")
    reader.memory.advance(2 * SECOND)
    reader.send(honest.record("mount"))
    reader.memory.nack_next(3)
    flood = reader.send(*burst(loud))
    assert reader.take_all()[1:] == flood

    behind = reader.send(*burst(loud, 5))
    assert reader.take_all() == [], "they are in the quarantine, and the marker is not in the shard"
    reader.memory.advance(SECOND)

    assert reader.take_all() == behind


def test_a_node_whose_records_fill_the_memory_is_set_aside_even_if_it_sends_alone(reader: Reader) -> None:
    alone = reader.met("alone")
    reader.memory.advance(2 * SECOND)
    large = [alone.record("mount", "--fsName", "x" * 2**20) for _ in range(34)]

    sent = reader.send(*large)
    reader.send(small := alone.record("mount"))

    assert [each.id for each in reader.memory.model.queue(QUARANTINE).ready] == []
    assert alone.name in reader.ingress._meter.aside
    assert reader.take_all() == [*sent, small.id]


def test_what_is_left_in_the_quarantine_of_a_node_that_is_quiet_again_is_no_new_flood(reader: Reader) -> None:
    loud, louder, honest = map(reader.met, ("loud", "louder", "honest"))
    for node in (loud, louder):
        reader.memory.advance(2 * SECOND)
        reader.send(honest.record("mount"))
        reader.send(*burst(node))
        reader.take_all()
    sent = reader.send(*burst(louder, 100), *burst(loud, 3))

    reader.memory.advance(QUIET + SECOND)
    reader.ingress.check()
    assert reader.take_all() == sent
    reader.memory.advance(QUIET + SECOND)
    reader.ingress.check()

    assert reader.ingress.findings == []


def test_a_node_that_is_quiet_again_is_bound_back_in_order(reader: Reader) -> None:
    loud, honest = reader.met("loud"), reader.met("honest")
    reader.memory.advance(2 * SECOND)
    reader.send(honest.record("mount"))
    reader.send(*burst(loud))
    reader.take_all()
    reader.send(*burst(loud, 70))
    assert len(reader.memory.model.queue(QUARANTINE).ready) == 70 - 64, "it is set aside"
    reader.take_all()
    sent: list[str] = []
    for _ in range(3):
        reader.memory.advance(QUIET)
        reader.ingress.check()
        sent += reader.send(*burst(loud, 5))

    assert reader.take_all() == sent
    assert reader.ingress.findings == [], "a burst is no flood"


def test_a_marker_that_another_reader_received_is_sent_again(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    standby, newcomer, publish = reader.another(), Node("newcomer"), reader.memory.publish
    markers: list[tuple[Message, Settled]] = []
    monkeypatch.setattr(reader.memory, "publish", lambda *each: markers.append(each))
    first = newcomer.record("mount")
    reader.send(first)
    # It publishes over another connection than it consumes over.
    reader.memory.drop()
    monkeypatch.undo()
    for each in markers:
        publish(*each)
    reader.memory.run()
    taken = standby.take_all()
    standby.memory.drop()
    reader.memory.run()

    sent = [first.id, *reader.send(*burst(newcomer, 2500))]
    reader.memory.advance(60 * SECOND)
    taken += reader.take_all()

    assert len(markers) == 1
    assert list(dict.fromkeys(taken)) == sent


def test_a_reader_that_hears_nobody_releases_nobody(reader: Reader) -> None:
    loud, honest = reader.met("loud"), reader.met("honest")
    reader.memory.advance(2 * SECOND)
    reader.send(honest.record("mount"))
    reader.send(*burst(loud))
    reader.take_all()

    # Another one may hear it flood all the time.
    reader.memory.advance(2 * QUIET)
    reader.ingress.check()
    assert loud.name in reader.ingress._meter.aside

    reader.send(honest.record("mount"))
    reader.ingress.check()
    assert loud.name not in reader.ingress._meter.aside


@pytest.mark.thorough
def test_a_reader_that_takes_over_in_a_flood_keeps_the_order(reader: Reader) -> None:
    loud, honest = reader.met("loud"), reader.met("honest")
    standby = reader.another()
    reader.memory.advance(2 * SECOND)
    reader.send(honest.record("mount"))
    sent = reader.send(*burst(loud, 2500)) + reader.send(*burst(loud, 50))
    # Nothing of it is acknowledged: what was in memory and what is in the quarantine comes to the standby.
    reader.memory.drop()
    reader.memory.run()

    taken = standby.take_all()

    order = {each: at for at, each in enumerate(sent)}
    positions = [order[each] for each in dict.fromkeys(taken) if each in order]
    assert positions == sorted(positions)
    assert len(positions) == len(sent)


def test_a_burst_whose_marker_is_late_is_not_reported_as_a_flood_that_ended(reader: Reader) -> None:
    loud, honest = reader.met("loud"), reader.met("honest")
    reader.memory.advance(2 * SECOND)
    reader.send(honest.record("mount"))
    # The shard refuses the marker for longer than it takes to be quiet again.
    reader.memory.nack_next(10_000)
    reader.send(*burst(loud))
    for _ in range(40):
        reader.memory.advance(SECOND)
        reader.ingress.check()
        reader.take_all()
    reader.memory.nack_next(0)
    for _ in range(40):
        reader.send(loud.record("mount"), honest.record("mount"))
        reader.memory.advance(SECOND)
        reader.ingress.check()
        reader.take_all()

    assert reader.ingress.findings == []
