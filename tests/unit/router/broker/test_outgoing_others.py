from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from router.broker.interface import Message
from router.broker.outgoing.foreign_queues import QUIET, ForeignQueues
from router.broker.outgoing.others_outbox import OthersOutbox
from router.broker.topology import EVENTS

SECOND = timedelta(seconds=1)


class Line:
    """An outbox, the queues of others that it reports to, and the time."""

    def __init__(self) -> None:
        self.now = timedelta(hours=2)
        self.foreign = ForeignQueues(lambda: self.now)
        assert self.foreign.unanswered()
        self.outbox = OthersOutbox(self.foreign)

    def put(self, count: int = 1, octets: int = 10) -> None:
        for _ in range(count):
            self.outbox.put(Message(EVENTS, "key", b"x" * octets, "id"))

    def send(self) -> int:
        found = 0
        while self.outbox.next() is not None:
            found += 1
        return found


def test_one_event_is_sent_until_there_is_an_answer_and_each_answer_allows_one_more():
    line = Line()
    line.put(10)

    assert line.send() == 1
    line.outbox.answered(1, multiple=False, taken=True)
    assert line.send() == 2
    line.outbox.answered(3, multiple=True, taken=True)
    assert line.send() == 4
    assert line.foreign.refusals == 0


def test_what_has_no_answer_when_the_channel_is_lost_counts_as_refused_and_is_not_sent_again():
    line = Line()
    line.put(3)
    line.send()
    line.now += 5 * SECOND

    assert line.outbox.unanswered_for == 5 * SECOND
    line.outbox.lost()

    assert (line.foreign.refusals, len(line.outbox), line.outbox.unanswered_for) == (1, 2, timedelta())


def test_where_there_is_no_room_the_oldest_events_go_and_count_as_refused():
    many, large = Line(), Line()

    many.put(1010)
    large.put(5, octets=3 * 2**20)

    assert (len(many.outbox), many.foreign.refusals) == (1000, 10)
    assert (len(large.outbox), large.foreign.refusals) == (2, 3)


def test_events_go_to_all_queues_at_once_again_when_others_have_taken_all_for_a_while():
    line = Line()
    line.put()
    line.send()
    line.outbox.lost()
    line.now += QUIET - SECOND
    line.put(2)
    line.send()
    line.outbox.answered(1, multiple=False, taken=True)
    assert line.foreign.are_silent
    line.now += SECOND

    line.send()
    line.outbox.answered(2, multiple=False, taken=True)

    assert not line.foreign.are_apart
    assert line.foreign.refusals == 0


@given(st.lists(st.sampled_from(("put", "send", "taken", "refused", "lost")), max_size=60))
def test_each_event_is_taken_refused_or_still_there(steps):
    line, put, taken, sent, answered = Line(), 0, 0, 0, 0
    for step in steps:
        match step:
            case "put":
                line.put()
                put += 1
            case "send":
                sent += line.send()
            case "taken" | "refused" if answered < sent:
                answered += 1
                line.outbox.answered(answered, multiple=False, taken=step == "taken")
                taken += step == "taken"
            case "lost":
                line.outbox.lost()
                sent = answered = 0

    assert taken + line.foreign.refusals + len(line.outbox) == put
