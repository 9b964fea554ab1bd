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
    return Turns(QUARANTINE)


def add(turns: Turns, queue: str, count: int, octets: int = 100, at: datetime = NOON) -> list[Arrival]:
    arrivals = [arrival(queue, octets) for _ in range(count)]
    for each in arrivals:
        turns.add(each, at)
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


def test_the_set_aside_are_taken_in_small_batches_that_hold_nobody_else(turns: Turns) -> None:
    flood = add(turns, QUARANTINE, 500)
    others = add(turns, "a", 5)

    first, second = take(turns), take(turns)

    assert len(first) < 50 and first == flood[: len(first)]  # noqa: PT018 - one statement about one batch
    assert second[: len(others)] == others or second == flood[len(first) : len(first) + len(second)]


def test_while_others_send_the_set_aside_have_a_part_of_the_time(turns: Turns) -> None:
    add(turns, QUARANTINE, 500)
    add(turns, "a", 1)
    take(turns, lasting=10 * MS)
    now = NOON + 10 * MS

    assert [each.queue for each in take(turns, now)] == ["a"]
    assert take(turns, now) == []
    assert turns.due(now) == 40 * MS
    assert {each.queue for each in take(turns, now + 40 * MS)} == {QUARANTINE}


def test_while_nobody_else_sends_they_have_all_of_it(turns: Turns) -> None:
    flood = add(turns, QUARANTINE, 500)
    add(turns, "a", 1, at=NOON - timedelta(seconds=2))
    taken: list[Arrival] = []
    for _ in range(100):
        taken += take(turns, lasting=10 * MS)

    assert [each for each in taken if each.queue == QUARANTINE] == flood


def test_a_clock_that_is_set_back_keeps_nobody_waiting(turns: Turns) -> None:
    add(turns, QUARANTINE, 500)
    add(turns, "a", 1)
    take(turns, lasting=10 * MS)
    earlier = NOON - timedelta(hours=1)

    assert turns.due(earlier) == timedelta()
    assert {each.queue for each in take(turns, earlier)} == {QUARANTINE}
