"""What the stand-in for RabbitMQ does on demand; what it does like RabbitMQ is in `tests/contract/test_broker.py`."""

from datetime import timedelta

import pytest

from router.broker.interface import Arrival, Message, Settlement
from router.broker.topology import Binding, Exchange, Queue, Topology
from router.errors import BrokerError
from tests.broker.memory import Memory

SECOND = timedelta(seconds=1)


def bus(**arguments: object) -> Topology:
    return Topology(
        exchanges=(Exchange("bus", "topic"),),
        queues=(Queue("q", {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}),),
        bindings=(Binding("bus", "q", "#"),),
    )


@pytest.fixture
def memory() -> Memory:
    memory = Memory(user="router")
    memory.declare(bus())
    return memory


def publish(memory: Memory, *names: str) -> dict[str, Settlement]:
    settled: dict[str, Settlement] = {}
    for name in names:
        memory.publish(Message("bus", name, b"", name), lambda what, name=name: settled.update({name: what}))
    return settled


def ids(memory: Memory) -> list[str]:
    return [message.id for message in memory.model.queue("q").ready]


def test_what_is_nacked_is_sent_again_in_order_after_a_pause(memory):
    memory.nack_next(2)
    settled = publish(memory, "a", "b")

    memory.run()
    assert (settled, ids(memory)) == ({}, [])
    memory.advance(SECOND)
    assert not settled
    memory.advance(SECOND)

    assert ids(memory) == ["a", "b"]
    assert set(settled.values()) == {Settlement.CONFIRMED}


def test_what_is_refused_is_settled_so_and_is_nowhere(memory):
    memory.refuse_next()
    settled = publish(memory, "a", "b")

    memory.run()

    assert settled == {"a": Settlement.REFUSED, "b": Settlement.CONFIRMED}
    assert ids(memory) == ["b"]


def test_nothing_is_sent_while_blocked(memory):
    memory.blocked = True
    settled = publish(memory, "a")
    memory.advance(60 * SECOND)
    assert not settled

    memory.blocked = False
    memory.run()

    assert settled == {"a": Settlement.CONFIRMED}


def test_a_dropped_connection_brings_back_what_was_not_settled(memory):
    arrivals: list[Arrival] = []
    memory.consume("q", arrivals.append, prefetch=10)
    publish(memory, "a", "b")
    memory.run()
    memory.ack(arrivals[0])

    memory.drop()
    memory.ack(arrivals[1])
    memory.run()

    assert [(each.id, each.redelivered) for each in arrivals] == [("a", False), ("b", False), ("b", True)]


def test_a_deleted_queue_is_declared_and_consumed_again(memory):
    arrivals: list[Arrival] = []
    memory.consume("q", arrivals.append, prefetch=10)
    memory.run()

    memory.delete("q")
    memory.advance(2 * SECOND)
    publish(memory, "a")
    memory.run()

    assert [each.id for each in arrivals] == ["a"]


def test_an_exchange_that_is_not_there_is_waited_for():
    memory = Memory()
    settled = publish(memory, "a")
    memory.advance(5 * SECOND)
    assert not settled

    memory.declare(bus())
    memory.advance(SECOND)

    assert settled == {"a": Settlement.CONFIRMED}


def test_time_passes_only_when_it_is_told_to_and_in_order():
    memory = Memory()
    seen: list[tuple[str, timedelta]] = []
    memory.later(3 * SECOND, lambda: seen.append(("third", memory.now)))
    memory.later(SECOND, lambda: memory.later(SECOND, lambda: seen.append(("second", memory.now))))
    take_back = memory.later(SECOND, lambda: seen.append(("never", memory.now)))
    take_back()

    memory.run()
    assert not seen
    memory.advance(10 * SECOND)

    assert seen == [("second", 2 * SECOND), ("third", 3 * SECOND)]
    assert memory.now == 10 * SECOND


def test_waiting_messages_expire_at_their_time():
    memory = Memory()
    memory.declare(
        Topology(
            exchanges=(Exchange("bus", "topic"), Exchange("late", "fanout")),
            queues=(Queue("q", {"x-message-ttl": 5000, "x-dead-letter-exchange": "late"}), Queue("late")),
            bindings=(Binding("bus", "q", "#"), Binding("late", "late")),
        )
    )
    late: list[timedelta] = []
    memory.consume("late", lambda _: late.append(memory.now), prefetch=10)
    publish(memory, "a")
    memory.advance(2 * SECOND)
    publish(memory, "b")

    memory.advance(10 * SECOND)

    assert late == [5 * SECOND, 7 * SECOND]


def test_another_line_is_another_user_of_the_same_broker(memory):
    arrivals: list[Arrival] = []
    memory.another(user="consumer").consume("q", arrivals.append, prefetch=1)

    publish(memory, "a")
    memory.run()

    assert [each.user for each in arrivals] == ["router"]


def test_what_arrived_and_was_not_settled_goes_back_when_the_line_stops(memory):
    arrivals: list[Arrival] = []
    memory.consume("q", arrivals.append, prefetch=1)
    publish(memory, "a", "b")
    memory.run()

    memory.stop()
    memory.run()

    assert [each.id for each in arrivals] == ["a"]
    assert ids(memory) == ["a", "b"]


def test_a_queue_is_consumed_once_by_a_line(memory):
    memory.consume("q", print, prefetch=1)

    with pytest.raises(BrokerError, match="'q' is already consumed"):
        memory.consume("q", print, prefetch=1)


def test_an_offset_that_is_none_is_named():
    memory = Memory()
    memory.declare(bus(queue_type="stream"))
    memory.consume("q", print, prefetch=1, offset="yesterday")

    memory.run()

    assert ids(memory) == []
