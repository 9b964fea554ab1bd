"""Deliveries are acknowledged once each, in few frames, and never one that was not settled."""

from hypothesis import given
from hypothesis import strategies as st

from router.broker.amqp.acks import Acks


def delivered(count: int) -> Acks:
    acks = Acks()
    for number in range(1, count + 1):
        acks.deliver(number)
    return acks


def test_a_run_from_the_oldest_is_one_frame():
    acks = delivered(5)
    for number in (1, 2, 3):
        acks.ack(number)

    assert acks.frames() == [(3, True)]
    assert acks.frames() == []
    assert len(acks) == 2


def test_nothing_is_acknowledged_for_a_delivery_that_is_still_open():
    acks = delivered(4)
    acks.ack(2)
    acks.ack(4)

    assert acks.frames() == [(2, False), (4, False)]


def test_the_second_settling_is_refused():
    acks = delivered(1)

    assert acks.ack(1)
    assert not acks.ack(1)
    assert not acks.settle(1)


@given(st.data())
def test_the_broker_ends_up_with_exactly_what_was_acknowledged(data):
    count = data.draw(st.integers(1, 30))
    acks, open_at_broker, acked = delivered(count), set(range(1, count + 1)), set()

    for number in data.draw(st.permutations(range(1, count + 1))):
        match data.draw(st.sampled_from(["ack", "settle", "leave"])):
            case "ack":
                acks.ack(number)
                acked.add(number)
            case "settle":
                acks.settle(number)
                open_at_broker.discard(number)
        if data.draw(st.booleans()):
            for told, multiple in acks.frames():
                assert told in open_at_broker
                closed = {each for each in open_at_broker if each <= told} if multiple else {told}
                assert closed <= acked
                open_at_broker -= closed
            assert not acked & open_at_broker
