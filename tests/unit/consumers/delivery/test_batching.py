"""Batches over a store that fails, is slow, or refuses one item."""

from datetime import timedelta

from consumers.delivery.batching import MOST, BatchQueue
from consumers.errors import StoreError
from router.database import TooSlow
from tests.broker.memory import Memory

MINUTE = timedelta(minutes=1)


def test_a_store_that_is_too_slow_for_a_batch_gets_smaller_ones_until_it_answers_and_larger_ones_then():
    memory, sizes = Memory(), []

    def work(items: list[int]) -> None:
        sizes.append(len(items))
        if len(sizes) < 20 and len(items) > 3:
            raise StoreError("too slow") from TooSlow("no answer within 10 s")
        done.extend(items)

    done: list[int] = []
    queue = BatchQueue(memory, work)
    for each in range(20):
        queue.add(each)
    memory.advance(MINUTE)

    assert done == [*range(20)]
    assert sizes[:4] == [20, 10, 5, 2]
    assert max(sizes[4:]) <= 4


def test_where_one_of_a_batch_fails_and_then_the_store_those_that_are_done_are_not_done_again():
    memory, failures = Memory(), [StoreError("database is locked")]

    def work(items: list[str]) -> None:
        if len(items) > 1:
            raise ValueError("one of these")
        if items == ["c"] and failures:
            raise failures.pop()
        if items == ["b"]:
            raise ValueError("this one")
        done.extend(items)

    done: list[str] = []
    blamed: list[str] = []
    queue = BatchQueue(memory, work, lambda item, _: blamed.append(item))
    for each in "abcd":
        queue.add(each)
    memory.advance(MINUTE)

    assert (done, blamed) == (["a", "c", "d"], ["b"])


def test_a_batch_is_bounded_and_the_rest_follows_in_later_turns():
    memory, batches = Memory(), []
    queue = BatchQueue(memory, batches.append)
    for each in range(2 * MOST + 5):
        queue.add(each)

    memory.advance(MINUTE)

    assert [len(each) for each in batches] == [MOST, MOST, 5]
    assert [item for each in batches for item in each] == [*range(2 * MOST + 5)]
