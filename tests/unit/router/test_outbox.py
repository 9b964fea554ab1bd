"""What was published and is not settled: kept in order, settled once."""

from hypothesis import given
from hypothesis import strategies as st

from router.broker import Message, Settlement
from router.broker.outbox import Outbox


def message(name: str) -> Message:
    return Message("bus", name, b"", name)


def fill(outbox: Outbox, *names: str) -> None:
    for name in names:
        outbox.put(message(name), lambda _: None)


def send_all(outbox: Outbox) -> list[str]:
    """Send what may be sent; return it."""
    sent = []
    while (entry := outbox.next()) is not None:
        sent.append(entry.message.id)
        outbox.sent()
    return sent


def test_no_more_than_the_window_is_sent_before_confirms_come():
    outbox = Outbox(window=2)
    fill(outbox, "a", "b", "c")

    assert send_all(outbox) == ["a", "b"]
    assert [each.message.id for each in outbox.confirm(1, multiple=False)] == ["a"]
    assert send_all(outbox) == ["c"]
    assert len(outbox) == 2


def test_a_confirm_of_many_settles_all_up_to_it_and_no_other():
    outbox = Outbox(window=10)
    fill(outbox, "a", "b", "c", "d")
    send_all(outbox)

    assert [each.message.id for each in outbox.confirm(3, multiple=True)] == ["a", "b", "c"]
    assert outbox.confirm(3, multiple=True) == []
    assert outbox.outstanding == 1


def test_what_the_broker_returned_is_confirmed_as_unrouted():
    outbox = Outbox(window=10)
    fill(outbox, "a", "b")
    send_all(outbox)

    outbox.returned("bus", "b", "b")

    assert [each.settlement for each in outbox.confirm(2, multiple=True)] == [Settlement.CONFIRMED, Settlement.UNROUTED]


def test_of_two_messages_alike_each_return_marks_one():
    outbox = Outbox(window=10)
    fill(outbox, "a", "a")
    send_all(outbox)

    outbox.returned("bus", "a", "a")
    first, second = outbox.confirm(2, multiple=True)

    assert {first.settlement, second.settlement} == {Settlement.UNROUTED, Settlement.CONFIRMED}


def test_a_return_does_not_count_for_the_next_connection():
    outbox = Outbox(window=10)
    fill(outbox, "a")
    send_all(outbox)
    outbox.returned("bus", "a", "a")

    outbox.lost()
    send_all(outbox)

    assert [each.settlement for each in outbox.confirm(1, multiple=False)] == [Settlement.CONFIRMED]


def test_after_a_lost_channel_everything_is_sent_again_in_order_before_anything_newer():
    outbox = Outbox(window=10)
    fill(outbox, "a", "b", "c")
    send_all(outbox)
    outbox.confirm(2, multiple=False)

    outbox.lost()
    fill(outbox, "d")

    assert send_all(outbox) == ["a", "c", "d"]


def test_what_was_refused_waits_until_the_rest_is_settled_and_goes_before_anything_newer():
    outbox = Outbox(window=3)
    fill(outbox, "a", "b", "c", "d")
    send_all(outbox)

    outbox.refuse(2, multiple=False)
    outbox.confirm(1, multiple=False)
    assert (outbox.next(), outbox.must_pause) == (None, False)
    outbox.confirm(3, multiple=False)
    assert outbox.must_pause
    outbox.again()

    assert send_all(outbox) == ["b", "d"]


def test_a_fault_among_many_is_found_by_sending_one_at_a_time():
    outbox = Outbox(window=10)
    fill(outbox, "a", "bad", "c")
    send_all(outbox)

    assert outbox.lost(by_fault=True) is None
    assert send_all(outbox) == ["a"]
    outbox.confirm(1, multiple=False)
    assert send_all(outbox) == ["bad"]
    culprit = outbox.lost(by_fault=True)
    assert culprit
    assert culprit.message.id == "bad"
    assert outbox.drop_culprit() is culprit
    assert send_all(outbox) == ["c"]
    outbox.confirm(1, multiple=False)
    fill(outbox, "d", "e")

    assert send_all(outbox) == ["d", "e"]


def test_a_fault_without_anything_sent_accuses_nobody():
    outbox = Outbox(window=10)
    fill(outbox, "a")

    assert outbox.lost(by_fault=True) is None
    assert send_all(outbox) == ["a"]


_STEPS = st.lists(
    st.one_of(
        st.just(("put",)),
        st.just(("send",)),
        st.tuples(st.sampled_from(["confirm", "refuse"]), st.integers(1, 8), st.booleans()),
        st.just(("again",)),
        st.tuples(st.just("lost"), st.booleans()),
    ),
    max_size=60,
)


@given(steps=_STEPS, window=st.integers(1, 5))
def test_whatever_happens_each_is_settled_once_and_a_channel_gets_them_in_order(steps, window):
    outbox = Outbox(window)
    put, settled, channel = 0, [], []

    for step in [*steps, ("lost", False), *[("send",), ("confirm", 10_000, True), ("again",)] * (len(steps) + 1)]:
        match step:
            case ("put",):
                put += 1
                fill(outbox, f"{put:04}")
            case ("send",):
                channel += send_all(outbox)
                assert outbox.outstanding <= window
            case ("confirm", number, multiple):
                settled += [each.message.id for each in outbox.confirm(number, multiple=multiple)]
            case ("refuse", number, multiple):
                outbox.refuse(number, multiple=multiple)
            case ("again",) if outbox.must_pause:
                outbox.again()
                channel = []
            case ("lost", by_fault):
                outbox.lost(by_fault=by_fault)
                channel = []
        assert channel == sorted(channel)

    assert len(outbox) == 0
    assert sorted(settled) == [f"{number:04}" for number in range(1, put + 1)]
