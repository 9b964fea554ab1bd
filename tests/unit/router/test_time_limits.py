"""Transactions end in time whatever their driver waits for."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, text

from router.database import TooSlow, advice, within
from router.database.time_limits import connected, limited

SOON, LATE = timedelta(seconds=0.3), timedelta(minutes=5)
FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


class Raw:
    """A driver's connection to a server that says nothing."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()

    def fileno(self) -> int:
        return self.ours.fileno()

    def wait(self) -> None:
        if not self.ours.recv(1):
            raise OSError("server closed the connection unexpectedly")


@pytest.fixture
def raw() -> Iterator[Raw]:
    made = Raw()
    yield made
    made.ours.close()
    made.theirs.close()


@pytest.mark.thorough
def test_who_waits_for_a_server_that_says_nothing_gets_an_error_that_says_so(raw):
    over = threading.Event()

    with pytest.raises(TooSlow, match="no answer within 0 s"), limited(raw, SOON, over.set):
        raw.wait()

    assert over.is_set()


@pytest.mark.thorough
def test_a_connection_that_answered_in_time_is_left_alone(raw):
    with limited(raw, SOON):
        pass
    time.sleep(2 * SOON.total_seconds())
    raw.theirs.send(b"x")

    raw.wait()


def test_an_error_of_the_work_stays_itself(raw):
    with pytest.raises(ValueError, match="mine"), limited(raw, LATE):
        raise ValueError("mine")


@pytest.mark.thorough
def test_a_query_of_sqlite_that_never_ends_is_ended():
    engine = create_engine("sqlite://")

    with pytest.raises(TooSlow), connected(engine, SOON) as connection:
        connection.execute(text(FOREVER))


@pytest.mark.thorough
def test_transactions_of_one_block_share_its_time():
    engine = create_engine("sqlite://")

    with within(SOON):
        with pytest.raises(TooSlow), connected(engine, LATE) as connection:
            connection.execute(text(FOREVER))
        with pytest.raises(TooSlow), connected(engine, LATE):
            pass
    with connected(engine, LATE) as connection:
        assert connection.scalar(text("SELECT 1")) == 1


@pytest.mark.thorough
def test_who_asks_what_to_do_about_a_database_that_does_not_answer_is_not_sent_to_its_disk_room(raw):
    with pytest.raises(TooSlow) as caught, limited(raw, SOON):
        raw.wait()

    assert "answers" in advice(caught.value, "consumers.store")
    assert "space" not in advice(caught.value, "consumers.store")
