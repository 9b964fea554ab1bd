"""Two routers on one PostgreSQL: neither harms the other."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from router.errors import StateError
from router.pipeline.deduplication import Occurrence
from router.pipeline.state import Changes, State
from router.pipeline.state_rows import Fate
from tests import postgres
from tests.nodes import NOON

WINDOW = timedelta(seconds=120)


@pytest.fixture
def url(postgresql: postgres.Server) -> Iterator[str]:
    with postgresql.schema() as url:
        yield url


def quorum_loss(record: str, node: str) -> Changes:
    fate = Fate(record, record, node)
    return Changes(fates=[fate], occurrences=[Occurrence(record, "k", NOON, NOON, frozenset())], observers=[fate])


def test_routers_that_start_at_once_on_an_empty_database_all_start(url: str) -> None:
    together = threading.Barrier(8)

    def start(number: int) -> None:
        together.wait(120)
        with State(url) as state, state.transaction() as transaction:
            transaction.write(quorum_loss(f"e{number}", "n1"), NOON)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(start, range(8)))

    with State(url) as state:
        assert state.facts().records == 8


def test_of_two_routers_that_overlap_the_later_has_to_look_again(url: str) -> None:
    with State(url) as one, State(url) as other:

        def overlap() -> None:
            with one.transaction() as late:
                assert late.occurrences({"k": [NOON]}, WINDOW) == {}
                with other.transaction() as early:
                    assert early.occurrences({"k": [NOON]}, WINDOW) == {}
                    early.write(quorum_loss("e1", "n1"), NOON)
                late.write(quorum_loss("e2", "n2"), NOON)

        with pytest.raises(StateError, match="could not serialize"):
            overlap()

        with one.transaction() as transaction:
            assert [each.event for each in transaction.occurrences({"k": [NOON]}, WINDOW)["k"]] == ["e1"]
