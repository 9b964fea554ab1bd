"""What the router remembers, in a transaction a batch."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from router.errors import SettingsError, StateError
from router.model.catalogue import Catalogues
from router.model.events import OWN, Event
from router.model.ids import new_id
from router.pipeline import state_schema
from router.pipeline.deduplication import Occurrence
from router.pipeline.gap_detection import GAPS, NodeState, beat, observe, overdue
from router.pipeline.mapping import own_event
from router.pipeline.state import Changes, State
from router.pipeline.state_rows import Fate
from router.services.misses import Misses
from tests.nodes import NOON

WINDOW = timedelta(seconds=120)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def url(database: Callable[[str], str]) -> str:
    return database("router")


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The address of a state in a file."""
    return f"sqlite:///{tmp_path}/router.db"


@pytest.fixture
def state(url: str) -> Iterator[State]:
    with State(url) as state:
        yield state


def finding(node: str = "n1", moment: datetime = NOON) -> Event:
    return own_event(
        "nodeBack", {"node": node}, Catalogues.shipped(), cluster="prod", node=node, id_=new_id(), moment=moment
    )


def keep(state: State, changes: Changes) -> None:
    with state.transaction() as transaction:
        transaction.write(changes, NOON)


def gappy() -> NodeState:
    node, _ = beat(None, "A", 3, NOON)
    node, _ = observe(node, "A", 9, NOON)
    node, _ = overdue(node, NOON + MINUTE, MINUTE)
    node, _ = observe(node, "B", 2**62, NOON)
    return node


def test_what_was_written_is_there_for_the_next_router(url: str) -> None:
    occurrence = Occurrence("e1", "k", NOON, NOON, frozenset({"n1", "n2"}))
    own = finding()
    with State(url) as first:
        keep(
            first,
            Changes(
                fates=[Fate("e1", "e1", "n1"), Fate("r2", "e1", "n2")],
                occurrences=[occurrence],
                observers=[Fate("e1", "e1", "n1"), Fate("r2", "e1", "n2")],
                nodes={("prod", "n1"): gappy()},
                outbox=[own],
            ),
        )

    with State(url) as second, second.transaction() as transaction:
        assert transaction.fates(["r2", "r3"]) == {"r2": Fate("r2", "e1", "n2", received=NOON)}
        assert transaction.occurrences({"k": [NOON + WINDOW]}, WINDOW) == {"k": [occurrence]}
        assert transaction.nodes([("prod", "n1"), ("test", "n1")]) == {("prod", "n1"): gappy()}
        assert transaction.waiting() == [own]


def test_nothing_of_a_transaction_that_failed_has_happened(state: State) -> None:
    def work() -> None:
        with state.transaction() as transaction:
            transaction.write(Changes(fates=[Fate("e1", "e1", "n1")]), NOON)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()

    assert state.facts().records == 0


def test_occurrences_outside_the_window_are_not_found(state: State) -> None:
    keep(state, Changes(occurrences=[Occurrence("e1", "k", NOON, NOON, frozenset())]))

    with state.transaction() as transaction:
        assert transaction.occurrences({"k": [NOON + WINDOW + timedelta(microseconds=1)]}, WINDOW) == {}
        assert transaction.occurrences({"other": [NOON]}, WINDOW) == {}


def test_claims_of_far_apart_times_find_what_is_near_each_and_nothing_between(state: State) -> None:
    years = [NOON - timedelta(days=365 * number) for number in range(57)]
    keep(
        state,
        Changes(occurrences=[Occurrence(f"e{number}", "k", at, NOON, frozenset()) for number, at in enumerate(years)]),
    )

    with state.transaction() as transaction:
        asked = {"k": [years[0], years[0] + MINUTE, years[56]], "other": [datetime(1, 1, 1, tzinfo=UTC)]}
        found = transaction.occurrences(asked, WINDOW)

    assert {each.event for each in found.pop("k")} == {"e0", "e56"}
    assert found == {}


def test_the_same_written_twice_is_there_once(state: State) -> None:
    own = finding()
    changes = Changes(fates=[Fate("e1", "e1", "n1")], outbox=[own, own], nodes={("prod", "n1"): gappy()})

    keep(state, changes)
    keep(state, changes)

    facts = state.facts()
    assert (facts.records, facts.outbox, facts.nodes) == (1, 1, 1)


def test_what_was_sent_leaves_the_outbox_and_the_rest_keeps_its_order(state: State) -> None:
    events = [finding(f"n{number}") for number in range(4)]
    keep(state, Changes(outbox=events))

    keep(state, Changes(sent=[events[1].id]))

    with state.transaction() as transaction:
        assert transaction.waiting() == [events[0], events[2], events[3]]


def test_the_outbox_is_as_old_as_what_waits_there_longest(state: State) -> None:
    old, young = finding(), finding(moment=NOON + MINUTE)
    assert state.condition().outbox_since is None

    keep(state, Changes(outbox=[old, young]))
    assert state.condition().outbox_since == NOON
    keep(state, Changes(sent=[old.id]))
    assert state.condition().outbox_since == NOON + MINUTE


def test_facts_count_records_copies_events_nodes_and_what_is_missing(state: State) -> None:
    keep(
        state,
        Changes(
            fates=[Fate("e1", "e1", "n1"), Fate("r2", "e1", "n2"), Fate("e3", "e3", "n1")],
            nodes={("prod", "n1"): gappy()},
        ),
    )

    facts = state.facts()

    assert (facts.records, facts.copies, facts.events, facts.nodes, facts.missing) == (3, 1, 2, 1, 5)
    assert not facts.missing_is_least


def test_more_may_be_missing_than_the_gaps_that_are_remembered(state: State) -> None:
    node = None
    for number in range(1, 4 * GAPS, 2):
        node, _ = observe(node, "A", number, NOON)
    assert node is not None
    node, _ = overdue(node, NOON + MINUTE, MINUTE)
    keep(state, Changes(nodes={("prod", "n1"): node}))

    assert (state.facts().missing, state.facts().missing_is_least) == (GAPS, True)


def test_only_nodes_that_beat_and_are_not_told_of_are_quiet(state: State) -> None:
    beating, _ = beat(None, "A", 1, NOON)
    mute, _ = observe(None, "A", 1, NOON)
    told = NodeState(NOON, beating=True, silent=True)
    late = NodeState(NOON + MINUTE, beating=True)
    keep(
        state, Changes(nodes={("c", "beating"): beating, ("c", "mute"): mute, ("c", "told"): told, ("c", "late"): late})
    )

    with state.transaction() as transaction:
        assert list(transaction.quiet_nodes(NOON + MINUTE)) == [("c", "beating")]


def test_a_gap_is_looked_at_until_it_is_told_of(state: State) -> None:
    node, _ = observe(None, "A", 1, NOON)
    node, _ = observe(node, "A", 3, NOON)
    keep(state, Changes(nodes={("c", "n1"): node}))
    with state.transaction() as transaction:
        assert transaction.nodes_with_untold_gaps(NOON) == {("c", "n1"): node}

    keep(state, Changes(nodes={("c", "n1"): overdue(node, NOON + MINUTE, MINUTE)[0]}))

    with state.transaction() as transaction:
        assert transaction.nodes_with_untold_gaps(NOON + MINUTE) == {}


def test_what_is_too_old_is_forgotten_in_portions(state: State) -> None:
    old = [Fate(f"r{number}", f"r{number}", "n1") for number in range(2500)]
    keep(
        state,
        Changes(
            fates=old,
            occurrences=[Occurrence("r1", "k", NOON, NOON, frozenset())],
            observers=[old[1]],
            nodes={("c", "n1"): gappy()},
        ),
    )
    with state.transaction() as transaction:
        transaction.write(Changes(fates=[Fate("new", "new", "n2")]), NOON + MINUTE)

    with state.transaction() as transaction:
        first = transaction.forget(NOON + MINUTE)
        left = transaction.facts().records
        second = transaction.forget(NOON + MINUTE)

    assert (first, second) == (True, False)
    assert left == 501
    with state.transaction() as transaction:
        assert transaction.fates(["r1", "new"]).keys() == {"new"}
        assert transaction.occurrences({"k": [NOON]}, WINDOW) == {}
        assert transaction.facts().nodes == 0


SMALL = {
    "refusals": "one row for the exchange of all events",
    "misses": "one row for each service that people have defined",
    "dismissals": "one row for each broker user; those of which the last is a day ago go with the next one",
}
"""Tables that `forget` leaves alone, each with why it stays small."""


def sizes(state: State) -> dict[str, int]:
    """Return the number of rows of each table that has some."""
    with state.reading() as connection:
        counts = {
            each.name: connection.scalar(select(func.count()).select_from(each)) or 0
            for each in state_schema.metadata.sorted_tables
        }
    return {name: count for name, count in counts.items() if count}


def test_all_that_is_over_goes_from_every_table_but_those_that_stay_small(state: State) -> None:
    own, fate = finding(), Fate("r1", "r1", "n1")
    keep(
        state,
        Changes(
            fates=[fate],
            occurrences=[Occurrence("r1", "k", NOON, NOON, frozenset())],
            observers=[fate],
            nodes={("c", "n1"): gappy()},
            outbox=[own],
            refusals=1,
            misses={"tickets": Misses(1, 1, NOON)},
            dismissed={"n1": 1},
        ),
    )
    assert sizes(state).keys() == state_schema.metadata.tables.keys()

    keep(state, Changes(sent=[own.id]))
    with state.transaction() as transaction:
        transaction.forget(NOON + MINUTE)

    assert sizes(state) == dict.fromkeys(SMALL, 1)


def test_observers_and_nodes_are_forgotten_in_portions_too(state: State) -> None:
    seen = [Fate(f"r{number}", f"e{number % 2}", f"n{number}") for number in range(4500)]
    found = [Occurrence(f"e{number}", "k", NOON, NOON, frozenset()) for number in range(2)]
    nodes = {("c", each.node): gappy() for each in seen}
    keep(state, Changes(occurrences=found, observers=seen, nodes=nodes))

    left = [sizes(state)]
    with state.transaction() as transaction:
        is_more = transaction.forget(NOON + MINUTE)
    while is_more:
        left.append(sizes(state))
        with state.transaction() as transaction:
            is_more = transaction.forget(NOON + MINUTE)

    assert [each["observers"] for each in left] == [each["nodes"] for each in left] == [4500, 2500, 500]
    assert [each["occurrences"] for each in left] == [2, 2, 2]
    assert sizes(state) == {}


@pytest.mark.thorough
def test_more_occurrences_of_one_key_than_a_statement_may_name_are_found(state: State) -> None:
    count = 66_000
    found = [Occurrence(f"e{number}", "k", NOON, NOON, frozenset()) for number in range(count)]
    keep(state, Changes(occurrences=found, observers=[Fate("r", f"e{count - 1}", "n1")]))

    with state.transaction() as transaction:
        known = transaction.occurrences({"k": [NOON]}, WINDOW)["k"]

    assert len(known) == count
    assert [each.event for each in known if each.observers] == [f"e{count - 1}"]


def test_every_commit_is_synced_and_readers_are_not_in_the_way(file: str) -> None:
    with State(file) as state, state.transaction() as transaction:
        pragmas = [
            transaction._connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous")
        ]

    assert pragmas == ["wal", 2]


def test_a_file_that_another_program_holds_is_a_state_error(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.database.engines.PATIENCE", timedelta(milliseconds=10))
    with State(file) as state:
        other = sqlite3.connect(tmp_path / "router.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StateError, match=r"router.db cannot be written: OperationalError: database is locked"):
            keep(state, Changes(fates=[Fate("e1", "e1", "n1")]))

        other.execute("ROLLBACK")
        other.close()
        keep(state, Changes(fates=[Fate("e1", "e1", "n1")]))
        assert state.facts().records == 1


def test_a_folder_that_is_not_there_is_a_state_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"nowhere/router\.db cannot be opened: .*unable to open"):
        State(f"sqlite:///{tmp_path}/nowhere/router.db")


@pytest.mark.parametrize("url", ["router.db", "mysql://root@localhost/x", ""])
def test_what_is_no_url_of_ours_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError, match=r"router\.state"):
        State(url)


def test_own_events_are_of_our_own_source() -> None:
    assert finding().origin == OWN
