"""What was published and is not settled: kept in order, settled once."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.broker.interface import Message, Settlement
from router.broker.outgoing.foreign_queues import PATIENCE, QUIET, SILENCE, ForeignQueues, Part
from router.broker.outgoing.outbox import Entry, Outbox
from router.broker.topology import EVENTS, FOR_OTHERS, OWN_EVENTS


def outbox_of(window: int, clock: Callable[[], timedelta] = timedelta) -> Outbox:
    return Outbox(window, ForeignQueues(clock))


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
    outbox = outbox_of(2)
    fill(outbox, "a", "b", "c")

    assert send_all(outbox) == ["a", "b"]
    assert [each.message.id for each in outbox.confirm(1, multiple=False)] == ["a"]
    assert send_all(outbox) == ["c"]
    assert len(outbox) == 2


def test_a_confirm_of_many_settles_all_up_to_it_and_no_other():
    outbox = outbox_of(10)
    fill(outbox, "a", "b", "c", "d")
    send_all(outbox)

    assert [each.message.id for each in outbox.confirm(3, multiple=True)] == ["a", "b", "c"]
    assert outbox.confirm(3, multiple=True) == []
    assert outbox.outstanding == 1


def test_each_message_that_is_refused_is_counted_each_time():
    outbox = outbox_of(10)
    fill(outbox, "a", "b", "c")
    send_all(outbox)

    outbox.confirm(1, multiple=False)
    outbox.refuse(3, multiple=True)
    outbox.again()
    send_all(outbox)
    outbox.refuse(4, multiple=False)

    assert outbox.nacks == 3


def test_what_is_not_to_be_sent_again_is_settled_when_it_is_refused_and_holds_nothing_up():
    outbox = outbox_of(10)
    outbox.put(Message("bus", "marker", b"", "marker", again=False), lambda _: None)
    fill(outbox, "a")
    send_all(outbox)

    (refused,) = outbox.refuse(1, multiple=False)

    assert (refused.message.id, refused.settlement) == ("marker", Settlement.REFUSED)
    assert [each.settlement for each in outbox.confirm(2, multiple=False)] == [Settlement.CONFIRMED]
    fill(outbox, "b")
    assert send_all(outbox) == ["b"]


def test_what_the_broker_returned_is_confirmed_as_unrouted():
    outbox = outbox_of(10)
    fill(outbox, "a", "b")
    send_all(outbox)

    outbox.returned("bus", "b", "b")

    assert [each.settlement for each in outbox.confirm(2, multiple=True)] == [Settlement.CONFIRMED, Settlement.UNROUTED]


def test_of_two_messages_alike_each_return_marks_one():
    outbox = outbox_of(10)
    fill(outbox, "a", "a")
    send_all(outbox)

    outbox.returned("bus", "a", "a")
    first, second = outbox.confirm(2, multiple=True)

    assert {first.settlement, second.settlement} == {Settlement.UNROUTED, Settlement.CONFIRMED}


def test_a_return_does_not_count_for_the_next_connection():
    outbox = outbox_of(10)
    fill(outbox, "a")
    send_all(outbox)
    outbox.returned("bus", "a", "a")

    outbox.lost()
    send_all(outbox)

    assert [each.settlement for each in outbox.confirm(1, multiple=False)] == [Settlement.CONFIRMED]


def test_after_a_lost_channel_everything_is_sent_again_in_order_before_anything_newer():
    outbox = outbox_of(10)
    fill(outbox, "a", "b", "c")
    send_all(outbox)
    outbox.confirm(2, multiple=False)

    outbox.lost()
    fill(outbox, "d")

    assert send_all(outbox) == ["a", "c", "d"]


def test_what_was_refused_waits_until_the_rest_is_settled_and_goes_before_anything_newer():
    outbox = outbox_of(3)
    fill(outbox, "a", "b", "c", "d")
    send_all(outbox)

    outbox.refuse(2, multiple=False)
    outbox.confirm(1, multiple=False)
    assert (outbox.next(), outbox.has_only_refused) == (None, False)
    outbox.confirm(3, multiple=False)
    assert outbox.has_only_refused
    assert outbox.again(), "a pause first"

    assert send_all(outbox) == ["b"], "one message finds out whether it is still refused"
    outbox.confirm(4, multiple=False)
    assert send_all(outbox) == ["d"]


def test_a_fault_among_many_is_found_by_sending_one_at_a_time():
    outbox = outbox_of(10)
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
    outbox = outbox_of(10)
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
    outbox = outbox_of(window)
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
            case ("again",) if outbox.has_only_refused:
                outbox.again()
                channel = []
            case ("lost", by_fault):
                outbox.lost(by_fault=by_fault)
                channel = []
        assert channel == sorted(channel)

    assert len(outbox) == 0
    assert sorted(settled) == [f"{number:04}" for number in range(1, put + 1)]


class Events:
    """An outbox of events, and a broker with a queue of ours and one of others, each of which may refuse."""

    def __init__(self, window: int = 10) -> None:
        self.now = timedelta(hours=2)
        self.outbox = outbox_of(window, lambda: self.now)
        self.ours: list[str] = []
        self.theirs: list[str] = []
        self.settled: list[str] = []
        self.pauses = 0
        self._number = self._put = 0

    def put(self, count: int = 1) -> None:
        for _ in range(count):
            self._put += 1
            self.outbox.put(Message(EVENTS, "key", b"", f"{self._put:04}"), lambda _: None)

    def work(self, *, we_refuse: bool = False, they_refuse: bool = False) -> None:
        """Send all that may be sent and answer on it, until there is nothing more or until the line pauses."""
        while True:
            sent: list[Entry] = []
            while (entry := self.outbox.next()) is not None:
                sent.append(entry)
                self.outbox.sent()
            for entry in sent:
                self._number += 1
                self._answer(entry, we_refuse=we_refuse, they_refuse=they_refuse)
            if self.outbox.has_only_refused and self.outbox.again():
                self.pauses += 1
                return
            if not sent:
                return

    def hang(self) -> list[str]:
        """Send what may be sent, get no answer, and lose the connection for it; return what is settled by that."""
        while self.outbox.next() is not None:
            self.outbox.sent()
        self.now += SILENCE
        assert self.outbox.unanswered_for == SILENCE
        settled = [each.message.id for each in self.outbox.unanswered()]
        self.settled += settled
        self.outbox.lost()
        self._number = 0
        return settled

    def fall_out(self) -> None:
        """Let the queue of others refuse until events are published in two parts; begins with an event."""
        self.put()
        for _ in range(10):
            self.work(they_refuse=True)
            self.now += PATIENCE / 3
        assert self.outbox.foreign.are_apart

    def _answer(self, entry: Entry, *, we_refuse: bool, they_refuse: bool) -> None:
        message = entry.outgoing
        is_ours = "only-for" not in message.headers
        is_theirs = message.exchange == EVENTS
        if is_ours and not we_refuse:
            self.ours.append(message.id)
        if is_theirs and not they_refuse:
            self.theirs.append(message.id)
        if (is_ours and we_refuse) or (is_theirs and they_refuse):
            settled = self.outbox.refuse(self._number, multiple=False)
        else:
            settled = self.outbox.confirm(self._number, multiple=False)
        self.settled += [each.message.id for each in settled]


def names(first: int, last: int) -> list[str]:
    return [f"{number:04}" for number in range(first, last + 1)]


def test_what_a_queue_of_others_refuses_reaches_ours_and_is_sent_to_theirs_once():
    events = Events(window=10)
    events.put(10)
    for _ in range(3):
        events.work(they_refuse=True)
        assert events.settled == [], "it may be the crash of a leader"
        events.now += PATIENCE / 3
    events.work(they_refuse=True)
    first = events.ours.copy()
    events.put(20)

    events.work(they_refuse=True)

    # What was under way when it began is sent again, because nobody knows who refused it; all else once.
    assert first == [*names(1, 10), "0001", "0001", "0001", *names(1, 10)]
    assert events.ours == first + names(11, 30)
    assert sorted(events.settled) == names(1, 30)
    assert (events.pauses, len(events.outbox)) == (3, 0)
    assert events.outbox.foreign.refusals == 30


def test_what_is_not_answered_goes_to_our_queues_alone_and_nobody_waits_for_others():
    events = Events(window=10)
    events.put(5)

    assert events.hang() == []
    events.work()
    events.put(3)
    events.work()

    assert (events.ours, events.theirs, sorted(events.settled)) == (names(1, 8), [], names(1, 8))
    assert events.outbox.unanswered_for == timedelta()
    aside = [events.outbox.others.next() for _ in range(1)]
    assert [(each.id, each.exchange, dict(each.headers)) for each in aside if each] == [
        ("0001", EVENTS, {"only-for": "others"})
    ]
    assert len(events.outbox.others) == 8


def test_what_ours_have_is_settled_where_the_second_part_is_not_answered():
    events = Events(window=10)
    events.fall_out()
    events.put(2)
    while events.outbox.next() is not None:
        events.outbox.sent()
    first = [each.message.id for each in events.outbox.confirm(10_000, multiple=True)]

    settled = events.hang()
    events.put()
    events.work()

    assert first == []
    assert settled == names(2, 3)
    assert events.settled[-1] == "0004"
    assert len(events.outbox.others) == 3


def test_without_the_exchange_of_our_own_queues_what_is_not_answered_is_sent_again_to_all():
    events = Events(window=10)
    events.outbox.foreign.inseparable()
    events.put(2)

    assert events.hang() == []
    events.work()

    assert (events.ours, events.theirs) == (names(1, 2), names(1, 2))
    assert len(events.outbox.others) == 0


def test_what_is_refused_for_a_moment_is_sent_again_to_all_as_a_whole():
    events = Events()
    events.put(3)
    events.work(they_refuse=True)
    events.now += PATIENCE / 2

    events.work()

    assert (events.ours, events.theirs) == (names(1, 3) * 2, names(1, 3))
    assert not events.outbox.foreign.are_apart


def test_a_new_refusal_soon_after_one_that_ended_gets_the_same_patience():
    # As when three nodes of a broker are restarted, one after the other.
    events = Events()
    for _ in range(3):
        events.put()
        for _ in range(2):
            events.work(they_refuse=True)
            events.now += PATIENCE / 3
        events.work()
        events.now += 8 * PATIENCE
    events.put()

    events.work(they_refuse=True)
    assert not events.outbox.foreign.are_apart
    events.now += PATIENCE / 3
    events.work()

    assert events.theirs == names(1, 4)
    assert events.outbox.foreign.refusals == 0


def test_a_queue_that_takes_an_event_now_and_then_holds_up_nobody_for_long():
    events = Events()
    events.put(1000)
    begun = events.now
    while len(events.settled) < 1000:
        events.work(they_refuse=True)
        events.now += PATIENCE / 4
        if len(events.outbox):
            entry = events.outbox.next()
            assert entry
            events.outbox.sent()
            events._number += 1
            events._answer(entry, we_refuse=False, they_refuse=False)

    assert events.now - begun <= PATIENCE * 2


def test_events_go_to_all_queues_at_once_again_when_none_has_refused_any_for_a_while():
    events = Events()
    events.fall_out()
    events.now += QUIET
    events.put()
    events.work()
    assert not events.outbox.foreign.are_apart
    events.ours.clear()
    events.theirs.clear()

    events.put()
    events.work()

    assert (events.ours, events.theirs) == (["0003"], ["0003"])
    assert events.outbox.foreign.refusals == 0


def test_a_queue_that_refuses_again_and_again_is_trusted_later_each_time():
    events, waits = Events(), []
    for _ in range(4):
        events.fall_out()
        begun = events.now
        while events.outbox.foreign.are_apart:
            events.now += QUIET
            events.put()
            events.work()
        waits.append((events.now - begun) // QUIET)

    assert waits == [1, 2, 4, 8]


def test_what_our_own_queue_refuses_waits_and_the_others_get_one_copy_of_one_event_each_time():
    events = Events()
    events.put(10)
    for _ in range(20):
        events.work(we_refuse=True)
        events.now += PATIENCE / 10

    assert (events.ours, events.settled, events.pauses) == ([], [], 20)
    assert Counter(events.theirs).total() <= 10 + 20
    assert events.theirs[:10] == names(1, 10)
    assert {*events.theirs[10:]} == {"0001"}
    events.work()
    assert (sorted(events.settled), events.ours) == (names(1, 10), names(1, 10))
    assert events.outbox.foreign.refusals == 0


def test_without_the_exchange_of_our_own_queues_a_refused_event_waits_as_a_whole():
    events = Events()
    events.fall_out()
    events.put()
    assert (entry := events.outbox.next())
    assert entry.part is Part.OWN
    events.outbox.foreign.inseparable()
    events.outbox.lost()

    events._number = events.pauses = 0
    events.work(they_refuse=True)
    assert (events.pauses, len(events.outbox)) == (1, 1)
    events.work()

    assert events.settled[-1] == "0002"
    assert len(events.outbox) == 0


def test_refusals_end_only_when_all_queues_took_events_also_where_ours_cannot_be_published_to_alone():
    events = Events()
    events.fall_out()
    events.outbox.foreign.inseparable()
    events.put()
    for _ in range(10):
        events.work(they_refuse=True)
        assert events.outbox.foreign.refusals == 1
        assert not events.outbox.foreign.are_apart
        events.now += QUIET

    events.now -= QUIET / 2
    events.work()
    assert (events.theirs, events.outbox.foreign.refusals) == (["0002"], 1)
    events.now += QUIET
    events.put()
    events.work()

    assert (events.theirs, events.outbox.foreign.refusals) == (["0002", "0003"], 0)


def test_refusals_go_on_where_our_own_queues_can_be_published_to_alone_again():
    events = Events()
    events.fall_out()
    events.outbox.foreign.inseparable()
    events.put()
    events.work(they_refuse=True)

    events.outbox.foreign.reconnected()
    events.work(they_refuse=True)

    assert events.settled == ["0001", "0002"]
    assert events.outbox.foreign.refusals == 2


@pytest.mark.parametrize("part", [*Part])
def test_each_part_is_an_outgoing_message_of_its_own(part: Part):
    entry = Entry(1, Message(EVENTS, "key", b"x", "id", headers={"traceparent": "t"}), lambda _: None)
    entry.part = part

    sent = entry.outgoing

    assert (sent.exchange, dict(sent.headers)) == {
        Part.ALL: (EVENTS, {"traceparent": "t"}),
        Part.OWN: (OWN_EVENTS, {"traceparent": "t"}),
        Part.OTHERS: (EVENTS, {"traceparent": "t", **FOR_OTHERS}),
    }[part]


_TURNS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans(), st.integers(0, 40)), max_size=30)


@given(turns=_TURNS, window=st.integers(1, 5))
def test_whoever_refuses_nothing_of_ours_is_lost_and_each_is_settled_once(turns, window):
    events = Events(window)
    put = 0
    for count, we_refuse, they_refuse, seconds in [*turns, *[(0, False, False, 0)] * 2]:
        events.now += timedelta(seconds=seconds)
        events.put(count)
        put += count
        events.work(we_refuse=we_refuse, they_refuse=they_refuse)
        assert set(events.settled) <= set(events.ours), "settled means that our own queues have it"

    assert sorted(events.settled) == names(1, put)
    assert [*dict.fromkeys(events.ours)] == names(1, put), "in order, but for what is sent again"
