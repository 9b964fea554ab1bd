"""Retention: what is old is deleted in portions, the audit in segments that leave it provable, kept letters never."""

import json
import threading
import tracemalloc
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, func, insert, select, update

from consumers.deliveries import FOLDED, Done, Waiting
from consumers.inspection.doctor import databases
from consumers.policies.throttling import Gathered
from consumers.store import attempts, audit, rates_and_folds
from consumers.store import letters as table
from consumers.store import schema as tables
from consumers.store.attempts import Attempt
from consumers.store.letters import Letter
from consumers.store.retention import deleted_records, old_rows, schedule
from consumers.store.retention.schedule import Retention
from router.settings.models import ConsumersSettings
from tests.alerting import AlertBench
from tests.consuming import make_delivery, make_event

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@pytest.fixture
def retention(store, tmp_path):
    """A function that makes the retention of the store with these settings."""

    def made(later=None, **settings):
        chosen = ConsumersSettings(jobs=tmp_path / "jobs", **settings)
        return Retention(store, chosen, lambda: NOW, later or (lambda _pause, _function: None))

    return made


def write(store, age, *, outcome=None, **fields):
    """Write one attempt of this *age*."""
    delivery = make_delivery(make_event(), **fields)
    begun = NOW - age
    with store.writing() as transaction:
        attempts.record(transaction, [Attempt(delivery, "me", "", begun, begun, outcome or Done())])
    return delivery


def letter(number, age, state="kept", *, body=b"{}", publisher=None):
    settled = None if state == "kept" else NOW - age
    return Letter(
        id=f"{number:016x}",
        kind="delivery",
        event_id=f"e{number}",
        event="gpfs.x",
        subscription="act",
        attempt=1,
        exchange="",
        topic="t",
        reason=f"exit code {number % 3}",
        body=body,
        headers={},
        kept_at=NOW - age - DAY,
        state=state,
        settled_at=settled,
        publisher=publisher,
    )


def write_letters(store, *letters):
    with store.writing() as transaction:
        table.keep(transaction, letters)


def write_audit(store, count, time="2025-01-01T00:00:00Z"):
    with store.writing() as transaction:
        audit.append(transaction, [make_delivery(make_event(time=time)) for _ in range(count)])


def count(store, of):
    with store.reading() as transaction:
        return transaction.scalar(select(func.count()).select_from(of))


def test_attempts_that_ended_long_ago_are_deleted_and_open_and_newer_ones_stay(store, retention):
    write(store, 91 * DAY)
    stay = [write(store, 89 * DAY), write(store, 200 * DAY, outcome=Waiting(DAY, "at the gate"))]

    is_more = retention().portion()

    assert not is_more
    with store.reading() as transaction:
        assert {each.event_id for each in attempts.find(transaction)} == {each.event.id for each in stay}


def test_a_delivery_that_no_consumer_has_met_for_400_days_goes(store, retention):
    waiting = Waiting(MINUTE, "at the gate")
    write(store, 401 * DAY, outcome=waiting)
    young, met_of_late = (write(store, 399 * DAY, outcome=waiting) for _ in range(2))
    begun = Attempt(make_delivery(make_event()), "killed", "", NOW - 500 * DAY)
    with store.writing() as transaction:
        attempts.claim(transaction, [(begun, "")])
        row = tables.deliveries.c.event_id == met_of_late.event.id
        moments = {"started": NOW - 500 * DAY, "ended": NOW - DAY}
        transaction.execute(update(tables.deliveries).where(row).values(moments))

    assert not retention().portion()

    with store.reading() as transaction:
        assert {each.event_id for each in attempts.find(transaction)} == {young.event.id, met_of_late.event.id}


def test_a_group_whose_delivery_is_lost_goes_after_400_days_and_one_that_waits_stays(store, retention):
    waiting = Waiting(MINUTE, "at the gate")
    # Of most lost groups there is no delivery: no consumer ever got the message.
    never_met, young = (make_delivery(make_event()) for _ in range(2))
    lost, met = (write(store, age * DAY, outcome=waiting, replay=FOLDED) for age in (401, 399))
    told = make_delivery(make_event())
    with store.writing() as transaction:
        for each, age in ((never_met, 401), (lost, 900), (met, 900), (young, 399), (told, 401)):
            gathered = Gathered(each.event.id, NOW - age * DAY, 3)
            rates_and_folds.gather(transaction, each.subscription, each.event.id, gathered)
        rates_and_folds.mark_delivered(transaction, told.subscription, [told.event.id], NOW - DAY)

    assert not retention().portion()

    with store.reading() as transaction:
        left = {each.event.id for each in (met, young, told)}
        assert {*transaction.scalars(select(tables.folds.c.head))} == left


def test_a_portion_is_bounded_and_the_next_one_follows_after_a_pause(store, retention, monkeypatch):
    monkeypatch.setattr(schedule, "PORTION", 10)
    for _ in range(25):
        write(store, 100 * DAY)
    pauses, left = [], []

    def later(pause, function):
        pauses.append(pause)
        left.append(count(store, tables.deliveries))
        if len(pauses) < 5:
            function()

    retention(later).start()

    assert left == [25, 15, 5, 0, 0]
    assert pauses[:3] == [timedelta(seconds=1)] * 3
    assert pauses[3:] == [timedelta(minutes=10)] * 2


def test_settled_letters_are_deleted_with_their_edits_and_letters_that_wait_never(store, retention):
    write_letters(store, letter(1, 91 * DAY, "replayed"), letter(2, 91 * DAY, "dropped"))
    write_letters(store, letter(3, 89 * DAY, "dropped"), letter(4, 5000 * DAY))
    with store.writing() as transaction:
        table.amend(transaction, f"{1:016x}", by="me", at=NOW, changes=[], body=b"{}")

    retention(keep_size=100_000_000).portion()

    with store.reading() as transaction:
        assert {each.id for each in table.find(transaction, state=None)} == {f"{3:016x}", f"{4:016x}"}
    assert count(store, tables.amendments) == 0


def test_rejected_records_of_one_node_go_when_they_are_too_many_and_letters_of_others_stay(
    store, retention, monkeypatch, caplog
):
    monkeypatch.setattr(old_rows, "MOST_OF_PUBLISHER", 3)
    monkeypatch.setattr(schedule, "PORTION", 4)
    of_liar = [letter(each, DAY - each * MINUTE, publisher="liar") for each in range(10)]
    of_others = [
        letter(each, (300 - each) * DAY, publisher=who) for each, who in enumerate(["n1", "n1", "-", None] * 2, 100)
    ]
    of_earlier = [letter(each, 100 * DAY) for each in range(200, 210)]
    write_letters(store, *of_liar, *of_others, *of_earlier)
    with store.writing() as transaction:
        table.amend(transaction, of_liar[0].id, by="me", at=NOW, changes=[], body=b"{}")

    made = retention(keep_size=100_000_000)
    assert [made.portion(), made.portion(), made.portion()] == [True, True, False]

    with store.reading() as transaction:
        kept = {each.id for each in table.find(transaction, state=None)}
    assert kept == {each.id for each in [*of_liar[7:], *of_others[1:], *of_earlier]}
    assert count(store, tables.amendments) == 0
    assert {(each.user, each.letters) for each in caplog.records if "too many" in each.message} == {
        ("liar", 4),
        ("liar", 3),
        ("n1", 1),
    }
    # A consumer that is started again knows it as well, for a day.
    with store.reading() as transaction:
        assert [(each.user, each.count) for each in deleted_records.worst(transaction, 5)] == [("liar", 7), ("n1", 1)]
        assert deleted_records.total(transaction) == 8
    with store.writing() as transaction:
        deleted_records.add(transaction, {}, NOW + 2 * DAY)
        assert deleted_records.worst(transaction, 5) == []


def test_the_audit_is_cut_by_whole_segments_and_goes_on_unbroken(store, retention, monkeypatch):
    write_audit(store, 2 * audit.SEGMENT + 50)
    write_audit(store, 10, time="2026-11-19T00:00:00Z")
    with store.reading() as transaction:
        before = audit.head(transaction)

    while retention().portion():
        pass

    assert count(store, tables.events) == 60
    write_audit(store, 5)
    with store.reading() as transaction:
        assert audit.start(transaction).sequence == 2 * audit.SEGMENT
        assert audit.verify(transaction) is None
        assert audit.verify_newest(transaction) == (None, 2 * audit.SEGMENT + 1)
        assert audit.head(transaction).sequence == before.sequence + 5


def test_an_audit_whose_events_are_all_deleted_goes_on_from_where_it_was_cut(store, retention):
    write_audit(store, audit.SEGMENT)
    retention().portion()

    write_audit(store, 1)

    with store.reading() as transaction:
        assert audit.head(transaction).sequence == audit.SEGMENT + 1
        assert audit.verify(transaction) is None


def test_one_event_from_the_future_does_not_keep_the_audit_for_ever(store, retention):
    write_audit(store, audit.SEGMENT - 1)
    write_audit(store, 1, time="9999-01-01T00:00:00Z")

    retention().portion()

    assert count(store, tables.events) == 0


def test_rows_removed_by_hand_before_a_cut_or_after_it_are_found(store, retention):
    write_audit(store, audit.SEGMENT + 20)
    retention().portion()
    with store.writing() as transaction:
        transaction.execute(tables.events.delete().where(tables.events.c.sequence == audit.SEGMENT + 1))

    with store.reading() as transaction:
        assert audit.verify(transaction).reason == f"row {audit.SEGMENT + 1} is missing"
        assert audit.verify_newest(transaction)[0].reason == f"row {audit.SEGMENT + 1} is missing"


def test_the_newest_part_of_the_audit_is_checked_and_its_size_is_said(store):
    write_audit(store, 30)

    with store.reading() as transaction:
        assert audit.verify_newest(transaction, rows=10) == (None, 21)
        assert audit.verify_newest(transaction, octets=1) == (None, 30)
        assert audit.verify_newest(transaction) == (None, 1)
    with store.writing() as transaction:
        changed = tables.events.c.sequence.in_([5, 25])
        transaction.execute(tables.events.update().where(changed).values(body=b"{}"))
    with store.reading() as transaction:
        assert audit.verify_newest(transaction, rows=10)[0].sequence == 25
        assert audit.verify_newest(transaction, rows=2) == (None, 29)
        assert audit.verify(transaction).sequence == 5


def test_a_store_over_its_size_deletes_before_the_age_but_nothing_of_the_last_week(
    store, retention, monkeypatch, caplog
):
    monkeypatch.setattr(schedule.old_rows, "octets", lambda _transaction: 10**12)
    write(store, 8 * DAY)
    young = write(store, 6 * DAY)
    write_letters(store, letter(1, 8 * DAY, "replayed"), letter(2, 500 * DAY))

    retention().portion()

    with store.reading() as transaction:
        assert [each.event_id for each in attempts.find(transaction)] == [young.event.id]
        assert [each.id for each in table.find(transaction, state=None)] == [f"{2:016x}"]
    assert "the store exceeds its size" in caplog.text


def test_a_store_over_its_size_deletes_nothing_of_the_audit(store, retention, monkeypatch):
    monkeypatch.setattr(schedule.old_rows, "octets", lambda _transaction: 10**12)
    write_audit(store, audit.SEGMENT, time=f"{NOW - 30 * DAY:%Y-%m-%dT%H:%M:%SZ}")

    assert not retention().portion()

    assert count(store, tables.events) == audit.SEGMENT


def test_a_large_audit_is_no_reason_to_delete_anything_else(store, retention, monkeypatch, caplog):
    monkeypatch.setattr(schedule.old_rows, "octets", lambda _transaction: 10**12)
    monkeypatch.setattr(schedule.audit, "octets", lambda _transaction: 10**12 - 10**8)
    write(store, 8 * DAY)

    retention(keep_audit_size=10**13).portion()

    assert count(store, tables.deliveries) == 1
    assert "exceeds" not in caplog.text


def test_an_audit_over_its_own_size_loses_its_oldest_segments_but_nothing_of_the_last_week(
    store, retention, monkeypatch, caplog
):
    monkeypatch.setattr(schedule.audit, "octets", lambda _transaction: 10**12)
    write(store, 8 * DAY)
    write_audit(store, audit.SEGMENT, time=f"{NOW - 8 * DAY:%Y-%m-%dT%H:%M:%SZ}")
    write_audit(store, audit.SEGMENT, time=f"{NOW - 6 * DAY:%Y-%m-%dT%H:%M:%SZ}")

    while retention().portion():
        pass

    assert count(store, tables.events) == audit.SEGMENT
    assert count(store, tables.deliveries) == 1
    assert "the audit exceeds its size; its oldest events are deleted before their time" in caplog.text
    assert "the audit exceeds its size, and nothing may be deleted" in caplog.text


def test_the_size_of_the_audit_is_known_from_a_few_of_its_rows(store, statements):
    write_audit(store, 450)
    with store.reading() as transaction:
        bodies = transaction.scalar(select(func.sum(func.length(tables.events.c.body))))
        statements.clear()

        found = audit.octets(transaction)

    assert bodies < found < bodies + 450 * 500
    assert len(statements) <= 3


def test_what_passed_a_rate_long_ago_is_forgotten(store, retention):
    with store.writing() as transaction:
        old = {"subscription": "act", "rule": "limit", "key": "k", "at": NOW - 33 * DAY, "event_id": "old"}
        transaction.execute(insert(tables.passes), [old, old | {"at": NOW - 31 * DAY, "event_id": "new"}])

    retention().portion()

    with store.reading() as transaction:
        assert transaction.scalars(select(tables.passes.c.event_id)).all() == ["new"]


def test_passes_and_delivered_groups_are_deleted_in_portions_too(store, retention):
    old, open_fold = NOW - 33 * DAY, {"due": NOW, "told": None, "events": 1, "facts": "{}", "key": "k"}
    passes = [{"subscription": "a", "rule": "limit", "key": "k", "event_id": f"{n}", "at": old} for n in range(450)]
    folds = [{**open_fold, "subscription": "a", "head": f"{n}", "told": old} for n in range(450)]
    with store.writing() as transaction:
        transaction.execute(insert(tables.passes), passes)
        transaction.execute(insert(tables.folds), [*folds, {**open_fold, "subscription": "a", "head": "open"}])
    left = []

    while retention().portion():
        left.append((count(store, tables.passes), count(store, tables.folds)))

    assert left == [(250, 251), (50, 51)]
    assert (count(store, tables.passes), count(store, tables.folds)) == (0, 1)


def test_a_portion_has_a_thread_of_its_own():
    called = Future()

    schedule.in_threads(timedelta(), lambda: called.set_result(threading.current_thread()))

    assert called.result(60) is not threading.current_thread()


def test_old_folders_of_jobs_are_removed_although_no_job_is_started(retention, tmp_path):
    folder = tmp_path / "jobs" / "act-1"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text("{}")
    (folder / "result.json").write_text(json.dumps({"ended": "finished"}))

    retention(keep_jobs="0s").portion()

    assert not folder.exists()


@pytest.fixture
def url(database):
    return database("store")


@pytest.fixture
def statements(store):
    """The texts of the statements that the store is sent from now on."""
    texts = []
    event.listen(store._engine, "before_cursor_execute", lambda *arguments: texts.append(arguments[2]))
    return texts


def test_lists_and_counts_ask_for_no_body(store, statements):
    write_letters(store, *(letter(number, DAY) for number in range(3)))
    statements.clear()

    with store.reading() as transaction:
        assert len(table.summaries(transaction, failure=None)) == 3
        assert table.count_kept(transaction) == (3, NOW - 2 * DAY)
        assert len(table.briefly(transaction, [f"{1:016x}"])) == 1

    assert statements
    assert not [each for each in statements if "body" in each or "headers" in each]


def test_the_doctor_reads_a_store_of_large_letters_in_little_memory(store, url):
    large = b"x" * 2**20
    for number in range(0, 60, 10):
        write_letters(store, *(letter(each, DAY, body=large) for each in range(number, number + 10)))
    tracemalloc.start()

    found = list(databases.store(url))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [each.verdict for each in found] == ["ok", "warning"]
    assert "60 letters wait for a decision, the oldest since 2026-11-18 12:00" in found[1].seen
    assert peak < 20 * 2**20


def test_closed_alerts_are_deleted_with_their_changes_and_open_ones_never(database, tmp_path):
    bench = AlertBench(database("store"))
    for node, names in (("n1", ("nodeLeave", "nodeJoin")), ("n2", ("nodeLeave",))):
        for name in names:
            bench.see(name, node=node)
            bench.advance(timedelta(seconds=5))
    chosen = ConsumersSettings(jobs=tmp_path / "jobs", keep_alerts="10d")

    for age, left in ((9, ["closed", "open"]), (11, ["open"]), (99, ["open"])):
        moment = bench.now + age * DAY
        Retention(bench.store, chosen, lambda moment=moment: moment, lambda *_: None).portion()
        assert [each.state for each in bench.alerts()] == left

    with bench.store.reading() as transaction:
        assert transaction.execute(select(func.count()).select_from(tables.alert_tables.changes)).scalar_one() == 1
        assert transaction.execute(select(func.count()).select_from(tables.alert_tables.keys)).scalar_one() == 1
    bench.see("nodeJoin", node="n2")
    assert bench.alerts()[0].state == "closed"
    bench.store.close()


def test_retention_goes_on_after_an_error_that_nobody_expected(store, monkeypatch, caplog):
    planned = []
    made = Retention(store, ConsumersSettings(), lambda: NOW, lambda pause, work: planned.append((pause, work)))
    monkeypatch.setattr(made, "portion", lambda: {}["about"])
    made.start()

    planned.pop()[1]()

    assert len(planned) == 1
    assert "KeyError: 'about'" in caplog.text
