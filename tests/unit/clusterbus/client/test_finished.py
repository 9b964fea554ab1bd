"""The memory of finished events, and its store."""

import sqlite3
from contextlib import suppress
from datetime import timedelta

import pytest

from clusterbus import SettingsError, events
from clusterbus.client import finished
from clusterbus.client.finished import Memory, Store
from tests.consuming import make_event


def test_the_memory_keeps_the_last_events():
    memory = Memory(limit=2)

    for each in "abc":
        memory.add(each)

    assert [each in memory for each in "abc"] == [False, True, True]


@pytest.mark.parametrize("name", ["folder", "nowhere/finished.db", "text"])
def test_a_store_that_cannot_be_used_is_an_error_that_names_it(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database " * 100)

    with pytest.raises(SettingsError, match=f"store {tmp_path / name}: "):
        Store(tmp_path / name)


def test_the_store_outlives_the_program_and_forgets_what_is_old(tmp_path, monkeypatch):
    with Store(tmp_path / "finished.db", keep=timedelta(days=1)) as store:
        monkeypatch.setattr(finished.time, "time", lambda: 0)
        store.add("old")
        monkeypatch.setattr(finished.time, "time", lambda: 80_000)
        store.add("new")

    with Store(tmp_path / "finished.db", keep=timedelta(days=1)) as store:
        assert ["old" in store, "new" in store] == [True, True]
        monkeypatch.setattr(finished.time, "time", lambda: 90_000)
        store.add("newest")
        assert ["old" in store, "new" in store] == [False, True]


def test_what_a_block_writes_is_committed_with_its_event_or_not_at_all(tmp_path):
    bad, good = make_event(), make_event()
    store = Store(tmp_path / "tickets.db")
    store.database.execute("CREATE TABLE tickets (id TEXT)")

    with events.double([bad, good]):
        with suppress(ZeroDivisionError):
            for event in events(service="tickets", store=store):
                store.database.execute("INSERT INTO tickets VALUES (?)", (event.id,))
                if event == bad:
                    raise ZeroDivisionError
        assert seen(tmp_path / "tickets.db", "tickets") == []
        for event in events(service="tickets", store=store):
            store.database.execute("INSERT INTO tickets VALUES (?)", (event.id,))

    assert seen(tmp_path / "tickets.db", "tickets") == seen(tmp_path / "tickets.db", "finished")
    assert seen(tmp_path / "tickets.db", "tickets") == sorted([bad.id, good.id])


def seen(path, table):
    database = sqlite3.connect(path)
    try:
        return sorted(each for (each,) in database.execute(f"SELECT id FROM {table}"))
    finally:
        database.close()


def test_a_failed_attempt_of_a_handler_leaves_nothing_in_the_database(tmp_path):
    store = Store(tmp_path / "tickets.db")
    store.database.execute("CREATE TABLE tickets (id TEXT)")
    failing = [ZeroDivisionError()]

    @events.handler(service="tickets", store=store, pause=timedelta(milliseconds=1))
    def ticket(event):
        store.database.execute("INSERT INTO tickets VALUES (?)", (event.id,))
        if failing:
            raise failing.pop()

    event = make_event()
    with events.double([event]):
        ticket.run()

    assert seen(tmp_path / "tickets.db", "tickets") == [event.id]
