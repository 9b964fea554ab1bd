"""What the store adds to a scrape: bounded, whatever is in it."""

from datetime import timedelta

import pytest

from consumers.policies.circuit_breaker import Breaker
from consumers.policies.failure_fingerprints import fingerprint
from consumers.programs import consumer_metrics
from consumers.store import breakers, letters
from consumers.store.alerts import receiver_health
from consumers.store.alerts.receiver_health import Attempt
from consumers.store.database import Store
from consumers.store.letters import Letter
from router.metrics.exposition import Scrape
from router.model.ids import new_id
from tests.engines import START
from tests.scraping import Scraped

MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(database):
    with Store(database("store")) as store:
        yield store


def letter(reason, *, kind="delivery", state="kept", minutes=1):
    id_ = new_id()
    return Letter(
        id=id_[-16:],
        kind=kind,
        event_id=id_,
        event="gpfs.mount",
        subscription="act",
        attempt=1,
        exchange="",
        topic="",
        reason=reason,
        kept_at=START - minutes * MINUTE,
        state=state,
        body=b"x" * 100,
        headers={},
    )


def scraped(store):
    scrape = Scrape()
    consumer_metrics._read(store, START)(scrape)
    return Scraped(scrape.text().decode())


def test_an_empty_store_has_nothing_that_waits(store):
    found = scraped(store)

    assert (found.value("letters_waiting"), found.value("letters_oldest_seconds")) == (0, 0)
    assert found.value("breakers_open") == 0
    assert "clusterbus_letters_by_failure" not in found.names


def test_letters_are_counted_by_kind_and_failure_while_they_wait(store):
    with store.writing() as transaction:
        letters.keep(
            transaction,
            [
                letter("exit code 1: nsd1 is gone", minutes=90),
                letter("exit code 1: nsd2 is gone"),
                letter("exit code 2"),
                letter("no JSON", kind="record"),
                letter("exit code 1", state="dropped", minutes=500),
            ],
        )

    found = scraped(store)

    assert (found.value("letters_waiting"), found.value("letters_oldest_seconds")) == (4, 90 * 60)
    assert found.by("kind", "letters_by_failure") == {"delivery": 3, "record": 1}
    same = fingerprint("exit code 1: nsd7 is gone")
    assert found.value("letters_by_failure", kind="delivery", failure=same) == 2


def test_of_many_failures_the_most_frequent_are_shown_and_the_rest_is_one(store):
    words = [f"{'abcdefghij'[number // 10]}{'klmnopqrst'[number % 10]} fails" for number in range(40)]
    with store.writing() as transaction:
        letters.keep(transaction, [letter(word) for word in words] + [letter(words[39]) for _ in range(5)])

    found = scraped(store).by("failure", "letters_by_failure")

    assert len(found) == 21
    assert found["other"] == 20
    assert found[fingerprint(words[39])] == 6
    assert sum(found.values()) == 45


def test_open_breakers_are_counted_and_the_first_are_named_whatever_their_names(store):
    hostile = 'a"b\n\x1b[31m'
    opened = [Breaker(f"post host{number:03}:443", 5, START + MINUTE) for number in range(30)]
    closed = [Breaker("post closed:443", 2), Breaker("post over:443", 5, START - MINUTE)]
    with store.writing() as transaction:
        breakers.write(transaction, [*opened, *closed, Breaker(hostile, 5, START + MINUTE)], START)

    found = scraped(store)

    assert found.value("breakers_open") == 31
    shown = found.by("target", "breaker_open")
    assert len(shown) == 20
    assert all(name.isprintable() for name in shown)
    assert any(name.startswith('a"b') for name in shown)
    assert not any("closed" in name or "over" in name for name in shown)


def test_receivers_of_alerts_are_named_those_first_that_fail_and_only_so_many(store):
    def tried(number, minutes, error=""):
        return Attempt(f"s{number:03}", "send", 'https://a"b\n', MINUTE, START - minutes * MINUTE, error)

    with store.writing() as transaction:
        receiver_health.record(transaction, [tried(number, 7) for number in range(70)])
        receiver_health.record(transaction, [tried(69, 5, "timeout")])

    found = scraped(store)

    assert found.by("subscription", "alert_receiver_failing") == {"s069": 1}
    shown = [f"s{number:03}" for number in (*range(49), 69)]
    assert found.by("subscription", "alert_receiver_last_success_seconds") == dict.fromkeys(shown, 7 * 60)
