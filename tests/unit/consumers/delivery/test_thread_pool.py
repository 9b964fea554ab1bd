"""The threads that call handlers."""

import threading

from consumers.delivery.thread_pool import ThreadPool, Ticket
from tests.waiting import wait_for


def test_no_more_run_at_once_than_the_pool_is_large_and_all_are_done() -> None:
    pool = ThreadPool(3, "t")
    running, most, done = 0, 0, []
    lock, go = threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait(120)
        with lock:
            running -= 1
            done.append(1)

    for _ in range(20):
        pool.submit(work)
    wait_for(lambda: running == 3, 10, "three run")
    go.set()
    wait_for(lambda: len(done) == 20, 10, "all are done")
    assert most == 3


def test_threads_are_started_only_for_work_that_nobody_is_free_for() -> None:
    pool = ThreadPool(8, "idle-threads")
    for _ in range(5):
        done = threading.Event()
        pool.submit(done.set)
        assert done.wait(120)
        wait_for(lambda: pool._idle._value > 0, 10, "the thread is idle again")

    assert sum(each.name.startswith("idle-threads") for each in threading.enumerate()) == 1
    pool.close()
    wait_for(lambda: not any(e.name.startswith("idle-threads") for e in threading.enumerate()), 10, "they end")


def test_what_is_cancelled_before_it_began_is_not_done_and_what_began_cannot_be_cancelled() -> None:
    done: list[str] = []
    waiting, begun = Ticket(lambda: done.append("waiting")), Ticket(lambda: done.append("begun"))
    begun.run()

    assert waiting.cancel()
    assert not begun.cancel()
    waiting.run()
    assert done == ["begun"]


def test_of_a_run_and_a_cancel_at_the_same_time_exactly_one_has_it() -> None:
    for _ in range(300):
        done: list[int] = []
        ticket = Ticket(lambda done=done: done.append(1))  # type: ignore[misc]
        thread = threading.Thread(target=ticket.run)
        thread.start()
        cancelled = ticket.cancel()
        thread.join(120)
        assert len(done) == (0 if cancelled else 1)
