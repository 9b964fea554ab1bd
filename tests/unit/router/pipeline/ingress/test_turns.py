"""Which records the router takes next, where several queues have some."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from router.broker.interface import Arrival
from router.broker.topology import QUARANTINE
from router.pipeline.ingress.turns import OCTETS, RECORDS, Turns, cost
from tests.nodes import NOON

MS = timedelta(milliseconds=1)


def arrival(queue: str, octets: int = 100) -> Arrival:
    return Arrival(queue, "", "", bytes(octets), "", None, {}, False, None)


@pytest.fixture
def turns() -> Turns:
    return Turns()


def add(turns: Turns, queue: str, count: int, octets: int = 100, at: datetime = NOON) -> list[Arrival]:
    arrivals = [arrival(queue, octets) for _ in range(count)]
    for each in arrivals:
        turns.add(each, queue, cost(each), at, aside=queue == QUARANTINE)
    return arrivals


def take(turns: Turns, at: datetime = NOON, *, lasting: timedelta = timedelta()) -> list[Arrival]:
    taken = turns.take(at)
    turns.done(at + lasting)
    return taken


def test_one_queue_is_taken_in_order_and_in_bounded_batches(turns: Turns) -> None:
    sent = add(turns, "a", RECORDS + 5)

    assert take(turns) + take(turns) == sent
    assert (take(turns), len(turns), turns.due(NOON)) == ([], 0, None)


def test_whoever_has_little_is_served_in_the_first_batch_however_much_others_have(turns: Turns) -> None:
    add(turns, "a", 10_000)
    few = add(turns, "b", 3)

    assert set(few) <= set(take(turns))


def test_records_are_weighed_by_their_octets(turns: Turns) -> None:
    add(turns, "a", 20, octets=2**20)
    small = add(turns, "b", 100)

    taken = take(turns)

    assert set(small) <= set(taken)
    assert sum(len(each.body) for each in taken) <= OCTETS + 2**20


@pytest.mark.parametrize("header", ["x" * 60_000, b"x" * 60_000, ["x" * 100] * 600, {"a": {"b": "x" * 60_000}}])
def test_headers_are_weighed_like_a_body(header: object) -> None:
    assert 60_000 <= cost(replace(arrival("a"), headers={"epoch": header})) < 70_000
    assert cost(replace(arrival("a"), headers={"sequence": 2**63, "v": True})) == cost(arrival("a"))


@pytest.mark.parametrize("queue", ["a", QUARANTINE])
def test_one_record_of_any_size_is_taken(turns: Turns, queue: str) -> None:
    sent = add(turns, queue, 1, octets=3 * OCTETS)

    assert take(turns) == sent


def test_the_set_aside_are_taken_in_small_batches_behind_the_others(turns: Turns) -> None:
    flood = add(turns, QUARANTINE, 500)
    others = add(turns, "a", RECORDS + 5)

    assert take(turns) == others[:RECORDS]
    assert take(turns) == flood[:20], "but not behind all that others have"
    assert take(turns) == others[RECORDS:]


def test_while_others_send_the_set_aside_have_a_part_of_the_time(turns: Turns) -> None:
    add(turns, QUARANTINE, 500)
    add(turns, "a", 1)
    take(turns)
    take(turns, lasting=10 * MS)
    add(turns, "a", 1)
    now = NOON + 10 * MS

    assert [each.queue for each in take(turns, now)] == ["a"]
    assert take(turns, now) == []
    assert turns.due(now) == 90 * MS
    assert {each.queue for each in take(turns, now + 90 * MS)} == {QUARANTINE}


def test_what_a_lane_has_when_it_is_set_aside_is_set_aside_in_order(turns: Turns) -> None:
    before = add(turns, "loud", 3)
    other = add(turns, "a", 1)
    after = arrival("loud")

    turns.add(after, "loud", 1000, NOON, aside=True)

    assert take(turns) == other
    assert take(turns) == [*before, after]
    assert turns.octets("loud") == 0


def test_a_lane_that_is_no_longer_set_aside_stays_behind_what_was(turns: Turns) -> None:
    aside = arrival("loud")
    turns.add(aside, "loud", 1000, NOON, aside=True)
    after = add(turns, "loud", 2)
    other = add(turns, "a", 1)

    assert take(turns) == other
    assert take(turns) == [aside, *after]
    again = add(turns, "loud", 1)
    add(turns, QUARANTINE, 1)
    assert take(turns) == again, "then it has its turn again"


def test_what_waits_of_a_lane_is_known(turns: Turns) -> None:
    add(turns, "a", 3, octets=1000)
    each = cost(arrival("a", 1000))
    assert turns.octets("a") == 3 * each

    take(turns)
    assert (turns.octets("a"), turns.octets("b")) == (0, 0)


def test_while_nobody_else_sends_they_have_all_of_it(turns: Turns) -> None:
    flood = add(turns, QUARANTINE, 500)
    add(turns, "a", 1, at=NOON - timedelta(seconds=2))
    taken: list[Arrival] = []
    for _ in range(100):
        taken += take(turns, lasting=10 * MS)

    assert [each for each in taken if each.queue == QUARANTINE] == flood


def test_while_nobody_else_sends_their_batches_are_as_large_as_any(turns: Turns) -> None:
    flood = add(turns, QUARANTINE, 500)

    assert take(turns) == flood[:RECORDS]


def test_a_clock_that_is_set_back_keeps_nobody_waiting(turns: Turns) -> None:
    add(turns, QUARANTINE, 500)
    add(turns, "a", 1)
    take(turns)
    take(turns, lasting=10 * MS)
    earlier = NOON - timedelta(hours=1)

    assert turns.due(earlier) == timedelta()
    assert {each.queue for each in take(turns, earlier)} == {QUARANTINE}


def test_a_batch_that_took_hours_is_followed_by_a_short_rest(turns: Turns) -> None:
    add(turns, QUARANTINE, 100)
    add(turns, "a", 1)
    take(turns)
    hours = timedelta(hours=3)
    turns.take(NOON)
    add(turns, "a", 1, at=NOON + hours)
    turns.done(NOON + hours)
    turns.take(NOON + hours)

    due = turns.due(NOON + hours)

    assert due is not None
    assert due <= timedelta(seconds=1)


def test_when_the_clock_is_set_back_nobody_is_taken_for_present(turns: Turns) -> None:
    add(turns, "a", 1)
    take(turns)
    before = NOON - timedelta(hours=1)
    sent = add(turns, QUARANTINE, 100, at=before)

    assert take(turns, before, lasting=MS) == sent


def test_so_many_set_aside_that_others_wait_behind_them_in_their_queue_do_not_rest(turns: Turns) -> None:
    add(turns, QUARANTINE, 1500)
    add(turns, "a", 1)
    taken = [take(turns, NOON + n * MS, lasting=MS) for n in range(5)]

    assert sum(map(len, taken)) > 500
