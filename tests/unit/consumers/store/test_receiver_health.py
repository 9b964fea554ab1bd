"""Whether the systems that alerts are kept in answer, as the store remembers it."""

from datetime import timedelta

import pytest

from consumers.store.alerts import receiver_health
from consumers.store.alerts.receiver_health import Attempt
from consumers.store.database import LONGEST_KEY, Store
from consumers.store.retention import old_rows
from consumers.store.schema.alert_tables import receivers
from tests.engines import START

MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(database):
    with Store(database("store")) as store:
        yield store


def attempt(minutes, error="", *, subscription="am", purpose="send", address="https://am"):
    return Attempt(subscription, purpose, address, MINUTE, START + minutes * MINUTE, error)


def record(store, *attempts):
    with store.writing() as transaction:
        receiver_health.record(transaction, attempts)


def found(store, limit=100):
    with store.reading() as transaction:
        return receiver_health.find(transaction, limit)


def test_a_failure_counts_since_the_first_after_the_last_success_whoever_writes_it(store):
    record(store, attempt(0))
    for minutes in (1, 2, 5):
        record(store, attempt(minutes, f"timeout {minutes}"))

    (failing,) = found(store)
    record(store, attempt(6))
    (answering,) = found(store)

    assert (failing.succeeded, failing.failing_since) == (START, START + MINUTE)
    assert (failing.tried, failing.error) == (START + 5 * MINUTE, "timeout 5")
    assert (answering.succeeded, answering.failing_since, answering.error) == (START + 6 * MINUTE, None, "")


def test_what_has_never_answered_has_no_success(store):
    record(store, attempt(0, "refused"), attempt(1, "refused"))

    (never,) = found(store)

    assert (never.succeeded, never.failing_since, never.every) == (None, START, MINUTE)
    assert [never.has_failed_for_long(START + each * MINUTE) for each in (2, 3)] == [False, True]


def test_what_a_subscription_no_longer_does_is_deleted_and_what_others_do_stays(store):
    long = "https://" + "x" * 1000
    record(
        store,
        attempt(0, address=long),
        attempt(0, address="https://old"),
        attempt(0, purpose="follow"),
        attempt(0, subscription="gone"),
        attempt(0, subscription="other"),
    )

    with store.writing() as transaction:
        receiver_health.keep_only(transaction, {"am": {("send", long)}, "gone": set()})

    kept = found(store)
    assert [(each.subscription, each.purpose, len(each.address)) for each in kept] == [
        ("am", "send", LONGEST_KEY),
        ("other", "send", len("https://am")),
    ]


def test_those_that_fail_come_first_the_longest_first_and_only_so_many(store):
    names = [f"s{number}" for number in range(5)]
    record(store, *(attempt(0, subscription=each) for each in names))
    record(store, attempt(2, "timeout", subscription="s3"), attempt(1, "timeout", subscription="s4"))

    assert [each.subscription for each in found(store, 3)] == ["s4", "s3", "s0"]


def test_what_nobody_tries_is_forgotten_in_portions(store):
    record(store, *(attempt(number, subscription=f"s{number}") for number in range(5)))

    with store.writing() as transaction:
        deleted = [old_rows.delete_old(transaction, receivers.c.tried, START + 4 * MINUTE, 3) for _ in range(3)]

    assert deleted == [3, 1, 0]
    assert [each.subscription for each in found(store)] == ["s4"]


def test_what_no_database_takes_is_written_all_the_same(store):
    record(store, attempt(0, "a\0b \ud800", address="https://a\0\ud800"))

    assert found(store)[0].error == "a\ufffdb ?"
