"""What is sent next: in order, a window at most, and no bad record holds up the good ones."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shim.records import Record
from shim.send_queue import SendQueue, jittered


def record(sequence: int, size: int = 10) -> Record:
    return Record(f"{sequence:019d}", f"ID{sequence}", "a.b.c.d", "c", b"x" * size, sequence)


def heartbeat() -> Record:
    return Record("", "HEARTBEAT", "a.b.c.d", "heartbeat", b"", 0, spooled=False)


def queue_of(*sequences: int, window: int = 10) -> SendQueue:
    queue = SendQueue(window)
    queue.offer(record(each) for each in sequences)
    return queue


def sent(queue: SendQueue, tag: int = 1) -> list[int]:
    """Send all that may be sent and return the sequences."""
    found: list[int] = []
    while True:
        one = queue.take(tag)
        if one is None:
            return found
        found.append(one.sequence)
        tag += 1


def test_records_leave_in_the_order_of_their_sequence_a_window_at_most() -> None:
    queue = queue_of(3, 1, 2, 5, 4, window=3)

    assert sent(queue) == [1, 2, 3]
    queue.settle(2, multiple=True, ack=True)
    assert sent(queue, 4) == [4, 5]


def test_what_was_sent_over_a_lost_connection_is_sent_again_in_order() -> None:
    queue = queue_of(1, 2, 3, 4, window=3)
    sent(queue)

    queue.settle(2, multiple=False, ack=True)
    queue.take_back_all()

    assert sent(queue) == [1, 3, 4]


def test_a_returned_record_is_not_confirmed_by_the_confirm_that_follows() -> None:
    queue = queue_of(1)
    sent(queue)

    queue.returned("ID1")
    settled = queue.settle(1, multiple=False, ack=True)

    assert settled.confirmed == []
    assert [each.sequence for each in settled.returned] == [1]
    assert queue.waiting == 1


def test_after_a_refusal_each_record_travels_alone_until_it_is_confirmed() -> None:
    queue = queue_of(1, 2, 3)
    sent(queue)

    assert queue.refused(final=True) == []

    assert sent(queue, 1) == [1]
    queue.settle(1, multiple=False, ack=True)
    assert sent(queue, 2) == [2]
    queue.settle(2, multiple=False, ack=True)
    assert sent(queue, 3) == [3]


def test_one_record_that_is_always_refused_is_given_up_and_the_others_pass() -> None:
    confirmed, hopeless = _play(queue_of(*range(1, 8)), bad={3, 4})

    assert confirmed == {1, 2, 5, 6, 7}
    assert [each.sequence for each in hopeless] == [3, 4]


def test_no_record_is_given_up_while_the_broker_refuses_everything() -> None:
    queue = queue_of(*range(1, 5))
    for _ in range(100):
        sent(queue)
        assert queue.refused(final=True) == []

    confirmed, hopeless = _play(queue, bad=set())

    assert confirmed == {1, 2, 3, 4}
    assert hopeless == []


def test_records_of_a_size_that_the_broker_refuses_are_given_up_at_once_and_suspect_no_other() -> None:
    queue = SendQueue(10)
    queue.offer([record(1), record(2, 100), record(3), record(4, 200), record(5, 99)])
    assert sent(queue) == [1, 2, 3, 4, 5]

    hopeless = queue.refused(final=True, too_large=100)

    assert [each.sequence for each in hopeless] == [2, 4]
    assert sent(queue, 6) == [1, 3, 5]


def test_a_size_that_no_record_has_is_a_refusal_like_any_other() -> None:
    queue = queue_of(1, 2)
    sent(queue)

    assert queue.refused(final=True, too_large=1000) == []
    assert sent(queue, 3) == [1]


def test_no_record_is_given_up_for_a_reason_that_may_pass() -> None:
    queue = queue_of(1, 2, 3)
    for _ in range(50):
        tag = 1
        one = queue.take(tag)
        assert one is not None
        assert one.sequence == 1
        assert queue.refused(final=False) == []

    assert queue.waiting == 3


def test_one_record_that_is_always_nacked_does_not_hold_up_the_others() -> None:
    queue = queue_of(*range(1, 6))
    confirmed = set()
    for tag in range(1, 40):
        one = queue.take(tag)
        if one is not None:
            settled = queue.settle(tag, multiple=False, ack=one.sequence != 2)
            confirmed |= {each.sequence for each in settled.confirmed}

    assert confirmed == {1, 3, 4, 5}
    assert queue.waiting == 1


def test_a_few_nacks_and_a_missing_exchange_do_not_change_the_order() -> None:
    queue = queue_of(1, 2, 3)
    order = []
    tag = 0
    for trouble in ("nack", "missing", "nack", "missing", None):
        while (one := queue.take(tag + 1)) is not None:
            tag += 1
            order.append(one.sequence)
            if trouble == "nack":
                queue.settle(tag, multiple=False, ack=False)
                break
            if trouble == "missing":
                queue.refused(final=False)
                break
            queue.settle(tag, multiple=False, ack=True)

    assert order == [1, 1, 1, 1, 1, 2, 3]


def test_a_heartbeat_says_up_to_where_all_was_sent() -> None:
    queue = queue_of(4, 5, 6, window=2)
    sent(queue)

    assert queue.last_sent_before(7) == 5
    assert queue.send_unspooled(3, heartbeat())


def test_a_lost_heartbeat_is_forgotten() -> None:
    queue = queue_of()
    queue.send_unspooled(1, heartbeat())

    queue.take_back_all()

    assert queue.waiting == queue.unsettled == 0


def test_large_records_fill_the_hands_before_the_window_does() -> None:
    queue = SendQueue(250)
    queue.offer([record(1, size=3 << 20)])

    assert queue.room == 0
    sent(queue)
    queue.settle(1, multiple=False, ack=True)
    assert queue.room == 500


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_a_delay_never_exceeds_the_longest(attempt: int, seed: int) -> None:
    assert 0 <= jittered(attempt, first=0.5, longest=60, chance=random.Random(seed)) <= 60


def _play(queue: SendQueue, bad: set[int]) -> tuple[set[int], list[Record]]:
    """Be a broker that closes the channel over the *bad* ones, in order, and confirms the rest."""
    confirmed: set[int] = set()
    hopeless: list[Record] = []
    for _ in range(200):
        tags = dict(enumerate(sent(queue), 1))
        refused = False
        for tag, sequence in tags.items():
            if sequence in bad:
                hopeless += queue.refused(final=True)
                refused = True
                break
            confirmed |= {each.sequence for each in queue.settle(tag, multiple=False, ack=True).confirmed}
        if not tags and not refused:
            break
    return confirmed, hopeless


class AnyBroker(RuleBasedStateMachine):
    """Whatever a broker does, each record is waiting, unsettled, confirmed or given up: exactly one of these."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = SendQueue(5)
        self.offered = self.tag = 0
        self.done: list[int] = []

    @rule(count=st.integers(1, 4))
    def offer(self, count: int) -> None:
        self.queue.offer(record(self.offered + number + 1) for number in range(count))
        self.offered += count

    @rule()
    def send(self) -> None:
        if self.queue.take(self.tag + 1) is not None:
            self.tag += 1

    @rule()
    def beat(self) -> None:
        if self.queue.send_unspooled(self.tag + 1, heartbeat()):
            self.tag += 1

    @precondition(lambda self: self.tag)
    @rule(data=st.data(), multiple=st.booleans(), ack=st.booleans(), returned=st.booleans())
    def answer(self, data: st.DataObject, *, multiple: bool, ack: bool, returned: bool) -> None:
        if returned:
            self.queue.returned(f"ID{data.draw(st.integers(1, self.offered + 1))}")
        settled = self.queue.settle(data.draw(st.integers(1, self.tag)), multiple=multiple, ack=ack)
        self.done += [each.sequence for each in settled.confirmed if each.spooled]

    @rule(final=st.booleans())
    def refuse(self, *, final: bool) -> None:
        self.done += [each.sequence for each in self.queue.refused(final=final)]

    @rule()
    def lose(self) -> None:
        self.queue.take_back_all()

    @invariant()
    def nothing_is_lost_or_settled_twice(self) -> None:
        assert len(set(self.done)) == len(self.done)
        spooled = [each for each in self.queue._unsettled.values() if each.record.spooled]
        in_hand = [each.record.sequence for each in spooled]
        in_hand += [each.record.sequence for _, _, each in self.queue._waiting]
        assert sorted(self.done + in_hand) == list(range(1, self.offered + 1))
        assert self.queue.room_in_bytes == (2 << 20) - 10 * len(in_hand)


TestAnyBroker = AnyBroker.TestCase
TestAnyBroker.settings = settings(max_examples=60, stateful_step_count=40)
