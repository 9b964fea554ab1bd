"""The store on a real PostgreSQL, a private one of this module: what SQLite forgives, it does not."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, update

from consumers.deliveries import DeadLetter, Delivery, Done, Retry
from consumers.errors import StoreError
from consumers.store import Store, audit, bindings, letters, schema
from consumers.store import deliveries as table
from tests import postgres
from tests.consuming import make_event

MOMENT = datetime(2026, 11, 20, 15, 22, 7, 980656, tzinfo=UTC)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory):
    with postgres.started(tmp_path_factory.mktemp("postgresql")) as url:
        yield url


@pytest.fixture
def store(postgresql):
    store = Store(postgresql)
    yield store
    with store.writing() as transaction:
        for each in schema.metadata.tables.values():
            transaction.execute(delete(each))
    store.close()


def delivery(event=None, name="a", **fields):
    event = event or make_event()
    return Delivery(event, name, event.topic, event.to_json(), **fields)


def attempt(delivery, outcome=None, owner="me"):
    return table.Attempt(delivery, owner, "digest", MOMENT, MOMENT if outcome else None, outcome)


def test_attempts_are_claimed_recorded_and_found(store):
    one, two = delivery(), delivery(make_event(type="gpfs.a\0b"), replay="R")
    retry = Retry(timedelta(seconds=5), "exit code 1\0", {"output": "\0\ud800"})
    with store.writing() as transaction:
        table.claim(transaction, [(attempt(one), ""), (attempt(two), "")])
        table.claim(transaction, [(attempt(one, owner="other"), "nobody"), (attempt(two, owner="other"), "me")])
        owners = {key: rows[1].owner for key, rows in table.look_up(transaction, [one.key, two.key]).items()}
        table.record(transaction, [attempt(one, Done({"exit": 0})), attempt(two, retry)])
        table.record(transaction, [attempt(one, DeadLetter("late")), attempt(two, Done())])

    with store.reading() as transaction:
        assert owners == {one.key: "me", two.key: "other"}
        assert {row.outcome for row in table.find(transaction, since=MOMENT)} == {"done"}
        assert table.find(transaction, subscription="a", event="softQuotaExceeded")[0].started == MOMENT


def test_several_writers_keep_one_chain(postgresql, store):
    def write():
        own = Store(postgresql)
        for _ in range(10):
            with own.writing() as transaction:
                audit.append(transaction, [delivery() for _ in range(3)])
        own.close()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    with store.reading() as transaction:
        assert audit.verify(transaction) is None
        assert audit.head(transaction).sequence == 90
        assert len(audit.find(transaction, since=MOMENT - timedelta(days=1))) == 90


def test_letters_and_bindings_are_kept(store):
    record = letters.Letter("1" * 16, "record", "E\0", "", "", 1, "x", "t", "no", b"\0\xff", {"a": "\0"}, MOMENT)
    with store.writing() as transaction:
        letters.keep(transaction, [record])
        nonces = [letters.give_nonce(transaction, record.id, nonce) for nonce in ("N", "M")]
        settled = [letters.settle(transaction, record.id, "replayed", "me", MOMENT) for _ in range(2)]
        letters.keep(transaction, [record])
        stale = [bindings.remember(transaction, "a", patterns) for patterns in (["x", "y"], ["y"])]

    with store.reading() as transaction:
        assert (nonces, settled, stale) == (["N", "N"], [True, False], [set(), {"x"}])
        (kept,) = letters.find(transaction, reason="n", before=MOMENT + timedelta(seconds=1))
        assert (kept.body, kept.headers, kept.state) == (b"\0\xff", {"a": "\0"}, "kept")


def test_a_newer_store_and_a_lost_server_are_told(store, postgresql):
    with store.writing() as transaction:
        transaction.execute(update(schema.versions).values(version_num="99"))
    try:
        with pytest.raises(StoreError, match="is of version 99"):
            Store(postgresql)
    finally:
        with store.writing() as transaction:
            transaction.execute(update(schema.versions).values(version_num=schema.VERSION))
    with pytest.raises(StoreError, match="No such file"):
        Store("postgresql://me@/postgres?host=/no/such/folder")
