import sqlite3
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, text, update

from consumers.deliveries import DeadLetter, Done, Retry
from consumers.errors import StoreError
from consumers.store import attempts as table
from consumers.store import audit, bindings, letters, schema
from consumers.store.database import Store
from consumers.store.letters import Letter
from tests.consuming import make_delivery, make_event

MOMENT = datetime(2026, 11, 20, 15, 22, 7, 980656, tzinfo=UTC)
OUTCOMES = [Done({"exit": 0}), Retry(timedelta(seconds=5), "exit code 1", {"exit": 1}), DeadLetter("no")]


@pytest.fixture
def url(database):
    return database("store")


@pytest.fixture
def file(tmp_path):
    """A store in a file."""
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield store


def attempt(delivery, outcome=None, owner="me", started=MOMENT):
    return table.Attempt(delivery, owner, "digest", started, started if outcome else None, outcome)


def letter(letter_id="1" * 16, **fields):
    defaults = {
        "kind": "delivery",
        "event_id": "E",
        "event": "gpfs.mount",
        "subscription": "a",
        "attempt": 1,
        "exchange": "clusterbus.dead",
        "topic": "t",
        "reason": "exit code 1",
        "body": b"\x00\xff",
        "headers": {"attempt": 1, "x-death": [{"queue": "q"}]},
        "kept_at": MOMENT,
    }
    return Letter(id=letter_id, **defaults | fields)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_is_looked_up_as_it_was_recorded(store, outcome):
    one = make_delivery(attempt=2, replay="R")

    with store.writing() as transaction:
        table.record(transaction, [attempt(one, outcome)])
    with store.reading() as transaction:
        known = table.look_up(transaction, [one.key])

    assert known == {one.key: {2: table.Begun("me", outcome)}}


def test_a_claim_is_taken_over_only_from_the_owner_that_was_seen(store):
    one = make_delivery()
    owners = []
    for owner, seen in (("first", ""), ("second", ""), ("third", "second"), ("fourth", "first")):
        with store.writing() as transaction:
            table.claim(transaction, [(attempt(one, owner=owner), seen)])
            owners.append(table.look_up(transaction, [one.key])[one.key][1].owner)

    assert owners == ["first", "first", "first", "fourth"]


def test_a_claim_never_undoes_an_outcome(store):
    one = make_delivery()
    with store.writing() as transaction:
        table.record(transaction, [attempt(one, Done())])
        table.claim(transaction, [(attempt(one, owner="other"), "me")])

        assert table.look_up(transaction, [one.key])[one.key][1] == table.Begun("me", Done())


def test_the_first_outcome_stays_but_done_stands_over_all(store):
    one = make_delivery()
    seen = []
    for outcome in (OUTCOMES[1], OUTCOMES[2], Done(), OUTCOMES[1]):
        with store.writing() as transaction:
            table.record(transaction, [attempt(one, outcome)])
            seen.append(table.look_up(transaction, [one.key])[one.key][1].outcome)

    assert seen == [OUTCOMES[1], OUTCOMES[1], Done(), Done()]


def test_attempts_are_found_by_what_they_are_newest_first(store):
    hour = timedelta(hours=1)
    with store.writing() as transaction:
        table.record(transaction, [attempt(make_delivery(), Done(), started=MOMENT - hour * at) for at in range(5)])
        other = make_delivery(make_event(type="gpfs.diskFailure"), "b")
        table.record(transaction, [attempt(other, DeadLetter("no"), started=MOMENT - hour * 9)])

    with store.reading() as transaction:
        since = table.find(transaction, since=MOMENT - 2 * hour)
        assert [row.started for row in since] == [MOMENT, MOMENT - hour, MOMENT - 2 * hour]
        assert len(table.find(transaction, limit=4)) == 4
        for filters in (
            {"event": "diskFailure"},
            {"event": "gpfs.diskFailure"},
            {"subscription": "b"},
            {"outcome": "dead"},
        ):
            assert [row.event_id for row in table.find(transaction, **filters)] == [other.event.id]
        assert table.find(transaction, event="Failure") == []


def test_text_that_no_database_takes_is_kept_nearly(store):
    one = make_delivery(make_event(type="gpfs.a\0b", data={}))

    with store.writing() as transaction:
        table.record(transaction, [attempt(one, DeadLetter("no\0pe \ud800"))])
        audit.append(transaction, [one])
    with store.reading() as transaction:
        assert [(row.event, row.reason) for row in table.find(transaction)] == [("gpfs.a\ufffdb", "no\ufffdpe ?")]
        assert audit.verify(transaction) is None


def test_the_audit_has_each_event_once_and_in_order(store):
    events = [make_delivery() for _ in range(5)]

    for batch in (events[:2], events[:3], events[2:]):
        with store.writing() as transaction:
            audit.append(transaction, batch)
    with store.reading() as transaction:
        entries = audit.find(transaction)

    assert [(each.sequence, each.id) for each in entries][::-1] == [(at, e.event.id) for at, e in enumerate(events, 1)]
    assert [each.body for each in entries][::-1] == [each.body for each in events]


@pytest.mark.parametrize(
    ("change", "row", "reason"),
    [
        (lambda t: update(t).where(t.c.sequence == 3).values(body=b'{"id": "x"}'), 3, "chain"),
        (lambda t: update(t).where(t.c.sequence == 3).values(chain=b"\0" * 32), 3, "chain"),
        (lambda t: update(t).where(t.c.sequence == 3).values(id="0" * 26), 3, "id"),
        (lambda t: update(t).where(t.c.sequence == 3).values(time="2020-01-01T00:00:00Z"), 3, "time"),
        (lambda t: delete(t).where(t.c.sequence == 3), 4, "missing"),
        (lambda t: delete(t).where(t.c.sequence == 1), 2, "missing"),
    ],
)
def test_a_change_in_the_audit_is_found_at_its_row(store, change, row, reason):
    with store.writing() as transaction:
        audit.append(transaction, [make_delivery() for _ in range(5)])
        assert audit.verify(transaction) is None

        transaction.execute(change(schema.events))
        broken = audit.verify(transaction)

    assert broken.sequence == row
    assert reason in broken.reason


def test_several_writers_keep_one_chain(url):
    def write():
        store = Store(url)
        for _ in range(10):
            with store.writing() as transaction:
                audit.append(transaction, [make_delivery() for _ in range(3)])
        store.close()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    store = Store(url)
    with store.reading() as transaction:
        assert audit.verify(transaction) is None
        assert audit.head(transaction).sequence == 90
    store.close()


def test_a_binding_is_never_forgotten(store):
    stale = []
    for patterns in (("a.#", "b.#"), ("b.#",), ("b.#", "c"), ("a.#",)):
        with store.writing() as transaction:
            stale.append(bindings.remember(transaction, "one", patterns))

    assert stale == [set(), {"a.#"}, {"a.#"}, {"b.#", "c"}]


def test_a_letter_is_kept_once_whole(store):
    one = letter()
    with store.writing() as transaction:
        letters.keep(transaction, [one])
        letters.keep(transaction, [letter(reason="again")])

    with store.reading() as transaction:
        assert letters.find(transaction) == [one]
        assert letters.get(transaction, one.id) == one
        assert letters.get(transaction, "none") is None


def test_a_record_that_is_rejected_anew_after_its_replay_is_kept_again(store):
    record, given_up = letter(kind="record"), letter("2" * 16)
    with store.writing() as transaction:
        letters.keep(transaction, [record, given_up])
        for each in (record, given_up):
            letters.settle(transaction, each.id, "replayed", "me", MOMENT)
        letters.keep(transaction, [letter(kind="record", reason="still no JSON"), given_up])

        assert [(each.id, each.reason) for each in letters.find(transaction)] == [(record.id, "still no JSON")]


def test_letters_are_found_by_what_they_are(store):
    day = timedelta(days=1)
    with store.writing() as transaction:
        letters.keep(transaction, [letter(), letter("2" * 16, subscription="b", kept_at=MOMENT - day)])
        letters.keep(transaction, [letter("3" * 16, event="gpfs.diskFailure", reason="100% full", kind="record")])
        letters.settle(transaction, "1" * 16, "dropped", "me", MOMENT)

        def found(**filters):
            return [each.id[0] for each in letters.find(transaction, **filters)]

        assert found() == ["3", "2"]
        assert found(state=None) == ["1", "3", "2"]
        assert found(state="dropped") == ["1"]
        assert found(subscription="b") == found(before=MOMENT - day / 2) == ["2"]
        assert found(event="diskFailure") == found(reason="0% f") == found(kind="record") == ["3"]
        assert found(since=MOMENT - day / 2, state=None, limit=1) == ["1"]


def test_a_letter_is_settled_once(store):
    with store.writing() as transaction:
        letters.keep(transaction, [letter()])

        assert letters.settle(transaction, "1" * 16, "replayed", "me", MOMENT)
        assert not letters.settle(transaction, "1" * 16, "dropped", "you", MOMENT)
        assert letters.get(transaction, "1" * 16).by == "me"


def test_a_transaction_that_fails_leaves_nothing(store):
    def fail():
        with store.writing() as transaction:
            audit.append(transaction, [make_delivery()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    with store.reading() as transaction:
        assert audit.find(transaction) == []


def test_a_store_of_a_newer_release_is_refused_with_the_way_out(store, url):
    with store.writing() as transaction:
        transaction.execute(text("UPDATE alembic_version SET version_num = '99'"))

    with pytest.raises(
        StoreError, match=r"^consumers\.store .* is of version 99, this release reads version 10: use the release"
    ):
        Store(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:////no/such/folder/store.db", "unable to open"),
        ("nonsense", "URL"),
        ("mysql://u:secret@h/n", "write sqlite"),
        ("postgresql://u:secret@127.0.0.1:1/n", "connection"),
        ("postgresql://u:secret@/n?host=/no/such/folder", "No such file"),
    ],
)
def test_a_store_that_cannot_be_opened_is_told_without_its_password(url, reason):
    with pytest.raises(StoreError, match=reason) as raised:
        Store(url)

    assert "secret" not in str(raised.value)


def test_a_driver_that_is_not_installed_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(StoreError, match=r"needs psycopg: pip install 'clusterbus\[postgresql\]'"):
        Store("postgresql://u:secret@127.0.0.1:1/n")


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "store.db").write_bytes(b"hello" * 1000)

    with pytest.raises(StoreError, match="not a database"):
        Store(f"sqlite:///{tmp_path / 'store.db'}")


def test_what_was_committed_is_synced_and_journalled_ahead(file):
    with file.reading() as transaction:
        journal = transaction.exec_driver_sql("PRAGMA journal_mode").scalar()
        synchronous = transaction.exec_driver_sql("PRAGMA synchronous").scalar()

    assert (journal, synchronous) == ("wal", 2)


def test_the_tables_are_read_without_us(file, tmp_path):
    with file.writing() as transaction:
        table.record(transaction, [attempt(make_delivery(), Done())])

    with sqlite3.connect(tmp_path / "store.db") as connection:
        row = connection.execute("SELECT subscription, attempt, outcome, started FROM deliveries").fetchone()
    connection.close()

    assert row == ("a", 1, "done", "2026-11-20T15:22:07.980656+00:00")
