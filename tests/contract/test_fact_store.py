"""The facts' store on SQLite and on a real PostgreSQL: what one forgives, the other does not."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from consumers.expressions.facts_cache import FactsCache
from router.cluster.facts import facts_store
from router.cluster.facts.assemble import assemble
from router.cluster.facts.facts_store import FactStore
from router.cluster.facts.parts import Answer
from router.settings.models import FactsSettings, Settings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@pytest.fixture
def url(database):
    """The address of an empty store."""
    return database("facts")


@pytest.fixture
def store(url):
    with FactStore(url) as opened:
        yield opened


def states(state="active", number=3):
    nodes = {str(at): {"name": f"nsd{at:02}", "state": state, "quorum": True} for at in range(1, number + 1)}
    return Answer({"nodes": nodes, "needed": 2, "tiebreaker": False})


def test_what_was_so_is_known_at_each_moment_and_a_failure_keeps_it(store):
    store.write("prod", {"states": states()}, NOW)
    store.write("prod", {"states": states()}, NOW + MINUTE)
    store.write("prod", {"states": states("down")}, NOW + 2 * MINUTE)
    store.write("prod", {"states": Answer(None, "no answer")}, NOW + 3 * MINUTE)

    now, then = store.known("prod"), store.known("prod", NOW + MINUTE)
    changes = store.history("prod", "states")

    assert [(each.confirmed, each.reason) for each in now] == [(NOW + 2 * MINUTE, "no answer")]
    assert [(each.confirmed, each.reason) for each in then] == [(NOW + MINUTE, "")]
    assert assemble("prod", now, MINUTE).down == ("nsd01", "nsd02", "nsd03")
    assert [(each.moment, each.until, each.reason) for each in changes] == [
        (NOW, NOW + MINUTE, ""),
        (NOW + 2 * MINUTE, NOW + 2 * MINUTE, ""),
        (NOW + 3 * MINUTE, NOW + 3 * MINUTE, "no answer"),
    ]


def test_what_is_gone_or_old_is_forgotten_and_what_is_known_stays(store):
    store.write("prod", {"states": states(), "disks/gpfs1": Answer({"d1": {"availability": "up"}})}, NOW)
    store.write("prod", {"states": states("down"), "disks/gpfs1": Answer(None)}, NOW + MINUTE)
    store.write("prod", {"states": Answer(None, "late")}, NOW + MINUTE / 2)

    forgotten = store.forget(NOW + 2 * MINUTE)

    assert forgotten == 4
    assert [each.part for each in store.known("prod")] == ["states"]
    assert store.clusters() == ["prod"]


def test_one_call_forgets_a_limited_number_of_rows_and_the_next_one_goes_on(store, monkeypatch):
    monkeypatch.setattr(facts_store, "_PORTION", 2)
    for each in range(6):
        store.write("prod", {"states": states(f"state {each}")}, NOW + each * MINUTE)

    assert [store.forget(NOW + DAY) for _ in range(4)] == [2, 2, 1, 0]
    assert store.known("prod")[0].content == states("state 5").content


def test_hostile_names_and_values_are_kept(store):
    odd = {"a\0b": {"comment": "'; DROP TABLE facts_contents; --\ud800\N{SNOWMAN}%s\\u0000"}}
    store.write("prod", {"filesets/x": Answer(odd), "disks/x": Answer(None, "no\0 \ud800 %(x)s" + "y" * 5000)}, NOW)

    filesets, reason = {each.part: each for each in store.known("prod")}["filesets/x"], store.known("prod")[0].reason

    assert filesets.content == odd
    assert reason.startswith("no\ufffd ? %(x)s")


def test_a_name_that_no_database_takes_costs_only_its_own_part(store):
    store.write(
        "prod", {"states": states(), "disks/a\0b": Answer({"d1": {}}), "filesets/\ud800": Answer(None, "no")}, NOW
    )
    store.write("prod", {"states": states(), "disks/a\0b": Answer({"d1": {}})}, NOW + MINUTE)

    assert {each.part: each.confirmed for each in store.known("prod")}["disks/a\ufffdb"] == NOW + MINUTE
    assert len(store.history("prod", "disks/a\0b")) == 1


def test_writers_and_readers_at_once_lose_nothing_and_see_no_half(url):
    def read_or_write(number):
        with FactStore(url) as store:
            if number % 2:
                return {each.reason for each in store.known("prod")}
            for minute in range(number, number + 10):
                store.write(
                    "prod", {"states": states(f"s{minute}"), "cluster": Answer({"m": minute})}, NOW + minute * MINUTE
                )
        return set()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read_or_write, range(16)))

    with FactStore(url) as store:
        assert {each.confirmed for each in store.known("prod")} == {NOW + 23 * MINUTE}
        assert store.known("prod")[0].content == {"m": 23}


def test_names_that_are_too_long_cost_only_their_own_part(store):
    long = "x" * 400

    store.write(
        "prod", {"states": states(), f"disks/{long}": Answer({"d1": {}}), f"filesets/{long}": Answer(None, "no")}, NOW
    )

    assert "states" in [each.part for each in store.known("prod")]


def test_a_server_that_does_not_answer_holds_nobody_up(monkeypatch):
    monkeypatch.setattr("router.database.engines.PATIENCE", timedelta(seconds=1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:secret@127.0.0.1:{silent.getsockname()[1]}/facts"
        facts_cache = FactsCache(Settings(facts=FactsSettings(store=url)), clock=lambda: NOW)
        began = time.monotonic()
        facts_cache.begin()

    assert time.monotonic() - began < 30  # without a limit, for ever
    assert "timeout" in facts_cache.of("prod").missing
    assert "secret" not in facts_cache.of("prod").missing


def test_subscriptions_know_what_another_has_written(url):
    facts_cache = FactsCache(Settings(facts=FactsSettings(store=url)), clock=lambda: NOW)
    with FactStore(url) as store:
        store.write("prod", {"states": states()}, NOW)

    facts_cache.begin()

    assert facts_cache.of("prod").values["quorum"]["reached"] is True
