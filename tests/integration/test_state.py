"""The router's state on a real PostgreSQL: the same as on SQLite, and two routers at once are no harm."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import create_engine

from router.collapse import Occurrence
from router.continuity import beat, observe, overdue
from router.errors import StateError
from router.state import Changes, Fate, State
from router.state.schema import metadata
from tests.integration.test_store import postgresql  # noqa: F401 - a fixture
from tests.nodes import NOON

WINDOW = timedelta(seconds=120)


@pytest.fixture
def url(postgresql: str) -> Iterator[str]:  # noqa: F811 - the fixture that was imported
    yield postgresql
    engine = create_engine(postgresql.replace("postgresql:", "postgresql+psycopg:"))
    metadata.drop_all(engine)
    engine.dispose()


def quorum_loss(record: str, node: str) -> Changes:
    fate = Fate(record, record, node)
    return Changes(fates=[fate], occurrences=[Occurrence(record, "k", NOON, frozenset())], observers=[fate])


def test_what_was_written_is_there_for_the_next_router(url: str) -> None:
    node, _ = beat(None, "A", 3, NOON)
    node, _ = observe(node, "A", 2**62, NOON)
    node, _ = overdue(node, NOON + WINDOW, WINDOW)
    changes = quorum_loss("e1", "n1")
    changes.nodes = {("prod", "n1"): node}
    for _ in range(2):
        with State(url) as state, state.transaction() as transaction:
            transaction.write(changes, NOON)

    with State(url) as state, state.transaction() as transaction:
        assert transaction.fates(["e1", "e2"]) == {"e1": Fate("e1", "e1", "n1")}
        assert transaction.occurrences({"k": [NOON]}, WINDOW)["k"][0].observers == {"n1"}
        assert transaction.nodes([("prod", "n1"), ("prod", "n2")]) == {("prod", "n1"): node}
        assert list(transaction.quiet_nodes(NOON + WINDOW)) == [("prod", "n1")]
        assert transaction.facts().events == 1
        assert transaction.forget(NOON + WINDOW) is False
        assert transaction.facts().records == 0


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
