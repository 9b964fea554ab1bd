"""What every database under the store has to do alike: take whatever comes, and keep consumers apart."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.dead_letters.keeper import Keeper
from consumers.deliveries import Delivery, Done, Report, Retry, Skipped, Waiting
from consumers.inspection.doctor import databases as doctor
from consumers.policies.circuit_breaker import PATIENCE, Breaker
from consumers.policies.guards import AtMost, Guard
from consumers.policies.retry import RetryPolicy
from consumers.policies.throttling import Folding, Gathered, Limit
from consumers.store import (
    approvals,
    audit,
    bindings,
    breakers,
    fast_writes,
    letters,
    queries,
    rates_and_folds,
    silences,
)
from consumers.store import attempts as table
from consumers.store.approvals import Approval
from consumers.store.database import Store
from consumers.store.schema import LOCK, deliveries
from consumers.store.silences import Silence
from router import database
from router.broker.interface import Message
from router.broker.topology import DEAD, RETURN, base, queue_of
from router.database import engines
from tests.broker.memory import Memory
from tests.consuming import make_delivery, make_event, make_subscription
from tests.engines import Bench, TellVerb, events, subscription

MOMENT = datetime(2026, 11, 20, 15, 22, 7, 980656, tzinfo=UTC)
ODD = "a\0b \ud800 %s %(x)s :name '; DROP TABLE deliveries; -- \N{SNOWMAN}" + "\N{GRINNING FACE}" * 3000
KEPT = ODD.replace("\0", "\ufffd").replace("\ud800", "?")


@pytest.fixture
def url(database):
    return database("store")


def attempt(outcome=None, *, event=None, number=1, lane=None, replay="", name="act"):
    event = event or make_event(note="a\0b", type="gpfs.a\0b")
    delivery = make_delivery(event, name, attempt=number, replay=replay)
    return table.Attempt(delivery, "me", "digest", MOMENT, MOMENT if outcome else None, outcome, lane)


def at_once(count, work):
    """Have *count* threads do *work* with their number, all at the same moment."""
    together = threading.Barrier(count)

    def begin(number):
        together.wait(120)
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(begin, range(count)))


# what is written


@pytest.mark.parametrize(
    "outcome",
    [
        Done({"out": ODD, "huge": 10**400, "nan": float("nan")}, ODD),
        Retry(timedelta.max, ODD),
        Waiting(timedelta(days=30_000), ODD),
        Skipped("unanswered", ODD),
    ],
)
def test_the_quick_statements_take_whatever_is_in_an_attempt(store, outcome):
    begun = attempt(number=1000, lane=ODD, replay="R")
    ended = replace(begun, ended=MOMENT, outcome=outcome)

    with store.writing() as transaction:
        assert fast_writes.begin(transaction, [begun])
    with store.writing() as transaction:
        assert not fast_writes.begin(transaction, [begun, replace(begun, owner="another")])
    with store.writing() as transaction:
        fast_writes.finish(transaction, [ended])
        table.record(transaction, [ended])

    with store.reading() as transaction:
        (row,) = queries.find(transaction, reason=ODD[:40], event="A\0B")
        assert (row.reason, row.attempt) == (KEPT, 1000)
        assert transaction.scalar(select(deliveries.c.lane)) == KEPT
        assert (row.delay is None) is isinstance(outcome, Done | Skipped)


def test_done_stands_over_all_and_another_outcome_over_none_in_the_quick_statements_too(store):
    begun, seen = attempt(), []
    with store.writing() as transaction:
        fast_writes.begin(transaction, [begun])
        for outcome in (
            Waiting(timedelta()),
            Retry(timedelta(), "no"),
            Skipped("guarded"),
            Done(),
            Retry(timedelta(), ""),
        ):
            fast_writes.finish(transaction, [replace(begun, ended=MOMENT, outcome=outcome)])
            seen.append(table.find(transaction)[0].outcome)

    assert seen == ["wait", "retry", "retry", "done", "done"]


def test_a_batch_of_the_quick_statements_says_whether_all_of_it_was_new(store):
    many = [attempt() for _ in range(500)]
    with store.writing() as transaction:
        assert fast_writes.begin(transaction, many[:400])
    with store.writing() as transaction:
        assert not fast_writes.begin(transaction, many[399:])
        fast_writes.finish(transaction, [replace(each, ended=MOMENT, outcome=Done()) for each in many])

    with store.reading() as transaction:
        assert [(each.outcome, each.attempts) for each in queries.count(transaction)] == [("done", 500)]


def test_every_table_takes_whatever_comes(store):
    texts = dict.fromkeys(("event_id", "event", "subscription", "exchange", "topic", "reason"), ODD)
    letter = letters.Letter(
        id="1" * 16,
        kind="record",
        attempt=2**31 - 1,
        body=b"\0\xff" * 100_000,
        headers={"a": ODD},
        kept_at=MOMENT,
        **texts,
    )
    asked = Approval("a", "E" * 26, "act", ODD, ODD, MOMENT, MOMENT + timedelta(days=1))
    event = make_event(note="a\0b", type="gpfs." + "x" * 10_000, time="2026-11-20T15:22:07.980656123Z\0")
    with store.writing() as transaction:
        letters.keep(transaction, [letter])
        letters.amend(transaction, letter.id, by=ODD, at=MOMENT, changes=[{"a": ODD}], body=b"\0")
        letters.settle(transaction, letter.id, "dropped", ODD, MOMENT)
        silences.add(transaction, Silence("S" * 26, "", ODD, ODD, ODD, MOMENT, MOMENT + timedelta(days=1)))
        approvals.ask(transaction, asked)
        approvals.answer(transaction, "a", "approved", ODD, MOMENT)
        rates_and_folds.let_pass(
            transaction,
            [{"subscription": "a", "rule": "repeated", "key": KEPT[:200], "event_id": "E" * 26, "at": MOMENT}],
        )
        rates_and_folds.gather(
            transaction, "a", KEPT[:200], Gathered("H" * 26, MOMENT, 1, ("n1",), ODD, ODD, {"v": [ODD]})
        )
        audit.append(transaction, [Delivery(event, "audit", ODD, event.to_json())])
        bindings.remember(transaction, "a", ["x" * 255])

    with store.reading() as transaction:
        assert letters.find(transaction, state=None, reason="DROP table", event_id=ODD)[0].headers == {"a": ODD}
        assert silences.find(transaction, at=MOMENT)[0].comment == KEPT
        assert approvals.get_all(transaction, ["a"])["a"].by == KEPT
        assert rates_and_folds.by_head(transaction, "a", ["H" * 26])["H" * 26].values == {"v": [ODD]}
        assert rates_and_folds.passed(transaction, "a", "repeated", [KEPT[:200]], MOMENT - timedelta(1)).keys() == {
            KEPT[:200]
        }
        assert audit.verify(transaction) is None
        assert letters.get(transaction, "no\0ne \udcff") is None


@pytest.mark.parametrize("target", [ODD, "run x on " + random.Random(1).randbytes(4000).hex()])
def test_a_target_of_any_length_has_a_breaker_that_can_be_closed_as_it_is_listed(store, target):
    for count in (1, 2):
        with store.writing() as transaction:
            known = breakers.find(transaction, [target, f"{target}2"])
            before = known.get(target) or Breaker(target)
            breakers.write(transaction, [before.after_failure(MOMENT, ODD)], MOMENT)

            found = breakers.find(transaction, [target, f"{target}2"])
            assert {name: (each.target, each.failed) for name, each in found.items()} == {target: (target, count)}

    with store.writing() as transaction:
        (listed,) = breakers.find(transaction)
        assert breakers.close(transaction, [listed]) == 1


def test_a_target_that_is_gone_is_listed_and_an_error_of_doctor_until_its_breaker_is_closed(store, url, tmp_path):
    hook = "post https://tickets.example.com/hook"
    with store.writing() as transaction:
        breakers.write(transaction, [Breaker(hook).gone(MOMENT, "answered 410 Gone"), Breaker("other", 2)], MOMENT)

    (tmp_path / "settings.yaml").write_text(f"consumers: {{store: '{url}'}}\n")
    settings = ["--settings", str(tmp_path / "settings.yaml"), "breakers"]
    (gone,) = (
        each for each in map(json.loads, _output(*settings, "list", "--json").splitlines()) if each["target"] == hook
    )
    (found,) = (each for each in doctor.store(url) if each.part == "breakers")
    assert (gone["state"], gone["until"]) == ("gone", None)
    assert (found.verdict, hook in found.seen, f"breakers close '{hook}'" in found.advice) == ("error", True, True)

    _output(*settings, "close", hook)
    assert [each for each in doctor.store(url) if each.part == "breakers"] == []


def _output(*words):
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return ended.output


# what is found


def test_letters_of_either_case_are_found_and_what_is_no_wildcard_is_none(store):
    with store.writing() as transaction:
        table.record(
            transaction, [attempt(Retry(timedelta(), "Disk is 100% full_"), event=make_event(type="gpfs.diskFailure"))]
        )
        table.record(transaction, [attempt(Retry(timedelta(), "no"))])

    with store.reading() as transaction:
        for filters in (
            {"reason": "dISK"},
            {"reason": "% f"},
            {"reason": "_"},
            {"event": "DiskFailure"},
            {"event": "GPFS.diskfailure"},
        ):
            assert [row.event for row in queries.find(transaction, **filters)] == ["gpfs.diskFailure"], filters
        assert queries.find(transaction, event="isk_ailure") == []


def test_counts_are_sorted_alike_and_what_is_open_comes_first(store):
    with store.writing() as transaction:
        for name in ("a-b", "ab", "a-c"):
            table.record(transaction, [attempt(Done(), name=name), attempt(name=name)])

    with store.reading() as transaction:
        found = [(each.subscription, each.outcome) for each in queries.count(transaction)]

    assert found == [(name, outcome) for name in ("a-b", "a-c", "ab") for outcome in ("open", "done")]


def test_many_are_looked_for_at_once(store):
    with store.reading() as transaction:
        assert letters.get_all(transaction, [f"{number:016}" for number in range(70_000)]) == {}
        assert letters.amended(transaction, [f"{number:016}" for number in range(70_000)]) == {}


def test_a_reading_that_ends_early_leaves_nothing_open(store):
    with store.writing() as transaction:
        table.record(transaction, [attempt(Retry(timedelta(), "exit code 1")) for _ in range(2100)])
        failure = queries.find(transaction, limit=1)[0].reason

    with store.reading() as transaction:
        mark = queries.fingerprint(failure)
        assert [len(queries.find(transaction, failure=mark, limit=each)) for each in (1, 1001)] == [1, 1001]


# several at once


@pytest.mark.parametrize("round_", range(8))  # where SQLite fails one of them, it does so in some rounds
def test_stores_that_are_opened_at_once_on_an_empty_database_all_open(url, round_):
    def work(number):
        with Store(url) as store, store.writing() as transaction:
            bindings.remember(transaction, "act", [f"a.{number}", *(f"b.{each}" for each in range(200))])

    at_once(6, work)

    with Store(url) as store, store.reading() as transaction:
        assert bindings.of(transaction, "act") >= {"b.199", *(f"a.{number}" for number in range(6))}


def test_an_opening_waits_for_another_programs_upgrade_beyond_the_patience_of_other_transactions(url, monkeypatch):
    monkeypatch.setattr(engines, "PATIENCE", timedelta(milliseconds=50))
    owner = database.engine(database.parsed(url, "store"))
    with ThreadPoolExecutor(1) as threads, owner.connect() as upgrading:
        upgrading.execute(select(1))
        database.lock(upgrading, LOCK)
        opening = threads.submit(Store, url)
        with pytest.raises(TimeoutError):
            opening.result(1)
        upgrading.rollback()
        opening.result(120).close()
    owner.dispose()


def test_no_failure_of_a_target_is_forgotten_where_several_consumers_have_one_at_once(url):
    def work(number):
        bench = Bench(url)
        bench.depends_on = ("post hub:443",)
        bench.handler = lambda _delivery: Report("http:500", "no", blamed=["post hub:443"])
        bench.start(subscription(retry=RetryPolicy(attempts=1)))
        bench.publish(make_event())
        bench.store.close()

    Store(url).close()
    at_once(PATIENCE - 1, work)

    with Store(url) as store, store.reading() as transaction:
        assert breakers.find(transaction)["post hub:443"].failed == PATIENCE - 1


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"limit": Limit(most=3, per=timedelta(hours=1), rest="skip")}, 3),
        ({"guard": Guard(at_most=3)}, 3),
        ({"guard": Guard(at_most=AtMost(count=3, by=("data.fsName",), rest="skip"))}, 3),
    ],
)
def test_several_consumers_together_let_no_more_pass_than_one_may(url, fields, most):
    def work(number):
        bench = Bench(url)
        bench.pool.held = True
        bench.start(subscription(**fields))
        bench.publish(*events(5))
        bench.store.close()

    Store(url).close()
    at_once(4, work)

    with Store(url) as store, store.reading() as transaction:
        assert len([row for row in queries.find(transaction, limit=100) if row.outcome is None]) == most


def test_several_consumers_gather_one_fold(url):
    def work(number):
        bench = Bench(url)
        bench.start(subscription(fold=Folding(wait=timedelta(hours=1))))
        bench.publish(*events(5))
        bench.store.close()

    Store(url).close()
    at_once(4, work)

    with Store(url) as store, store.reading() as transaction:
        (gathered,) = rates_and_folds.gathering(transaction, "tell", ["[]"]).values()
        assert gathered.count == 20


# what would come again for ever


@pytest.mark.parametrize("header", ["a\0b", "\N{SNOWMAN}", "x" * 65])
def test_a_header_that_no_database_keeps_apart_stops_nothing(bench, header):
    bench.start(make_subscription("act", ["/bin/true"]))
    event = make_event()

    for replay in (header, "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"):
        headers = {"subscription": "act", "topic": event.topic, "replay": replay, "attempt": 1}
        bench.send(Message(RETURN, event.topic, event.to_json(), event.id, event.type, headers=headers))

    assert len(bench.calls) == 1
    assert bench.waiting(DEAD) == 1
    assert bench.waiting(queue_of("act")) == 0


def test_a_dead_letter_with_any_headers_is_kept(store):
    broker = Memory(user="consumer")
    broker.declare(base())
    Keeper(broker, store, lambda: MOMENT).start()
    event = make_event(note="a\0b")
    for headers in (
        {"subscription": "a\0b", "replay": "c\0d", "attempt": 2**40, "reason": "e\0f", "topic": "g\0h"},
        {"subscription": "x" * 5000, "replay": "y" * 5000},
    ):
        broker.another(user="router").publish(Message(DEAD, "", event.to_json(), event.id, headers=headers), print)
    broker.run()

    with store.reading() as transaction:
        assert len(letters.find(transaction)) == 2


def test_an_event_with_nul_in_it_goes_through_every_gate(bench):
    bench.depends_on = ("post hub\0:443",)
    by = ("data.note", "subject")
    fields = {"fold": Folding(by=by, wait=timedelta(seconds=5)), "limit": Limit(by=by, most=5, per=timedelta(hours=1))}
    bench.start(
        make_subscription("audit"),
        subscription(**fields, guard=Guard(at_most=5)),
        make_subscription("lane", TellVerb(), order_by=by),
    )

    for _ in range(2):
        bench.publish(
            *(make_event(note="a\0b" + "\N{SNOWMAN}" * 5000, subject="c\0d", type="gpfs.e\0f") for _ in range(3))
        )
        bench.broker.advance(timedelta(minutes=1))

    rows = bench.rows()
    assert [row.outcome for row in rows if row.subscription == "lane"] == ["done"] * 6
    assert [row.outcome for row in rows if row.replay == "folded"] == ["done"] * 2
    assert len(bench.audited()) == 6
