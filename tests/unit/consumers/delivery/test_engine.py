import dataclasses
import threading
from collections import Counter
from datetime import timedelta

import pytest

from consumers.deliveries import Report
from consumers.delivery import admission, messages, settlement
from consumers.delivery.active_subscription import Logged, serve
from consumers.delivery.gates.open_breaker import OpenBreakerGate
from consumers.delivery.gates.pipeline import Pipeline
from consumers.delivery.thread_pool import ThreadPool
from consumers.policies.retry import RetryPolicy
from consumers.store import attempts as table
from consumers.subscriptions.models import Subscriptions
from consumers.verbs.interface import Surroundings
from consumers.verbs.log import lines
from consumers.verbs.log.verb import LogVerb
from router.broker.interface import Message
from router.broker.topology import DEAD, EVENTS, OWN_EVENTS, RETURN, queue_of
from router.settings.models import Settings
from tests.consuming import make_delivery, make_event, make_subscription, now
from tests.engines import Recorded
from tests.waiting import wait_for

SECOND = timedelta(seconds=1)


RUN = ["/bin/true"]


def failing(*attempts):
    return lambda delivery: Report("exit:1", "exit code 1") if delivery.attempt in attempts else Report()


def test_a_delivery_that_is_done_is_recorded_and_acknowledged(bench):
    event = make_event()
    bench.start(make_subscription("act", RUN))

    bench.publish(event)

    assert [(row.event_id, row.attempt, row.outcome) for row in bench.rows()] == [(event.id, 1, "done")]
    assert bench.rows()[0].digest == Subscriptions(subscriptions=(make_subscription("act", RUN),)).digest
    assert bench.waiting(queue_of("act")) == 0


def test_a_batch_of_events_is_logged_in_their_order(bench):
    events = [make_event() for _ in range(20)]
    bench.start(make_subscription("audit"))

    bench.publish(*events)

    assert bench.audited() == [event.id for event in events]
    assert bench.engine.counts["audit"].done == 20


def test_a_failed_attempt_comes_back_after_its_delay_as_the_next(bench):
    bench.handler = failing(1)
    bench.start(make_subscription("act", RUN))

    bench.publish(make_event())
    before = list(bench.calls)
    bench.broker.advance(2 * SECOND)

    assert [attempt for *_, attempt in before] == [1]
    assert [attempt for *_, attempt in bench.calls] == [1, 2]
    assert [row.outcome for row in bench.rows()] == ["retry", "done"]


def test_the_last_failure_is_dead_lettered_with_its_reason(bench):
    bench.handler = failing(1, 2, 3)
    bench.start(make_subscription("act", RUN))

    bench.publish(make_event())
    bench.broker.advance(10 * SECOND)

    assert [row.outcome for row in bench.rows()] == ["retry", "retry", "dead"]
    assert bench.waiting(DEAD) == 1
    assert bench.broker.published[-1].headers["reason"] == "exit code 1"


def test_duplicates_in_one_batch_and_after_it_call_the_handler_once(bench):
    event = make_event()
    bench.start(make_subscription("act", RUN), make_subscription("audit"))

    bench.publish(event, times=4)
    bench.publish(event, times=4)

    assert len(bench.calls) == 1
    assert bench.audited() == [event.id]
    assert bench.waiting(queue_of("act")) == bench.waiting(queue_of("audit")) == 0


def test_a_duplicate_of_what_is_in_flight_waits_for_its_outcome(bench):
    event = make_event()
    bench.pool.held = True
    bench.start(make_subscription("act", RUN))
    bench.publish(event)

    bench.publish(event)
    while_in_flight = bench.waiting(queue_of("act"))
    bench.pool.release()
    bench.broker.run()

    assert while_in_flight == 2
    assert len(bench.calls) == 1
    assert bench.waiting(queue_of("act")) == 0


def test_a_delivery_that_comes_again_over_a_new_connection_is_acknowledged_there(bench):
    bench.pool.held = True
    bench.start(make_subscription("act", RUN))
    bench.publish(make_event())

    bench.broker.drop()
    bench.broker.run()
    bench.pool.release()
    bench.broker.run()

    assert len(bench.calls) == 1
    assert bench.waiting(queue_of("act")) == 0


def test_an_attempt_that_has_its_outcome_is_only_acted_on_again(bench):
    bench.handler = failing(1)
    event = make_event()
    bench.start(make_subscription("act", RUN))
    bench.publish(event)

    bench.publish(event)
    bench.broker.advance(5 * SECOND)

    assert [attempt for *_, attempt in bench.calls] == [1, 2]
    assert bench.engine.counts["act"].repeated == 1
    assert bench.waiting(queue_of("act")) == 0


def test_an_old_copy_of_what_is_past_it_is_only_acknowledged(bench):
    bench.handler = failing(1, 2)
    event = make_event()
    bench.start(make_subscription("act", RUN))
    bench.publish(event)
    bench.broker.advance(1.5 * SECOND)
    published = len(bench.broker.published)

    bench.publish(event)

    assert len(bench.broker.published) == published
    assert [attempt for *_, attempt in bench.calls] == [1, 2]


def test_a_replay_is_a_delivery_of_its_own(bench):
    event = make_event()
    bench.start(make_subscription("act", RUN), make_subscription("other", RUN))
    bench.publish(event)

    headers = {"subscription": "act", "topic": event.topic, "replay": "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "attempt": 1}
    bench.send(Message(RETURN, event.topic, event.to_json(), event.id, event.type, headers=headers))

    assert Counter(name for name, *_ in bench.calls) == {"act": 2, "other": 1}


def test_what_the_filter_does_not_let_pass_is_counted_with_its_reason(bench):
    bench.start(make_subscription("act", RUN, where="data.blockUsage > data.blockLimit"))

    bench.publish(make_event(), make_event(blockLimit=2**40), make_event(blockLimit=1))

    counts = bench.engine.counts["act"]
    assert len(bench.calls) == counts.done == 1
    assert counts.unmatched == 2
    assert sum(counts.unevaluated.values()) == 1
    assert "null" in next(iter(counts.unevaluated))


def test_a_retry_is_not_filtered_again(bench):
    event = make_event()
    bench.start(make_subscription("act", RUN, where="false"))

    headers = {"subscription": "act", "topic": event.topic, "attempt": 2}
    bench.send(Message(RETURN, event.topic, event.to_json(), event.id, headers=headers))

    assert [attempt for *_, attempt in bench.calls] == [2]


def test_what_is_no_event_goes_to_the_dead_letters_and_the_flow_goes_on(bench):
    event = make_event()
    bench.start(make_subscription("act", RUN))

    bench.send(Message(EVENTS, event.topic, b"\xff{", "x"))
    bench.publish(event)

    assert bench.waiting(DEAD) == 1
    assert bench.broker.published[0].headers["reason"].startswith("not an event")
    assert [event_id for _, event_id, _ in bench.calls] == [event.id]
    assert bench.waiting(queue_of("act")) == 0


def test_nothing_is_acknowledged_while_the_store_fails_and_all_is_when_it_works(bench):
    events = [make_event() for _ in range(3)]
    bench.start(make_subscription("audit"), make_subscription("act", RUN))
    bench.store.failures = 3

    bench.publish(*events)
    while_failing = bench.waiting(queue_of("audit")), bench.waiting(queue_of("act")), list(bench.calls)
    bench.broker.advance(60 * SECOND)

    assert while_failing == (3, 3, [])
    assert bench.audited() == [event.id for event in events]
    assert len(bench.calls) == 3
    assert bench.waiting(queue_of("audit")) == bench.waiting(queue_of("act")) == 0


def test_an_outcome_that_cannot_be_written_is_written_later_without_another_call(bench):
    bench.start(make_subscription("act", RUN))

    def handler(_delivery):
        bench.store.failures = 2
        return Report()

    bench.handler = handler
    bench.publish(make_event())
    unacknowledged = bench.waiting(queue_of("act"))
    bench.broker.advance(60 * SECOND)

    assert unacknowledged == 1
    assert len(bench.calls) == 1
    assert [row.outcome for row in bench.rows()] == ["done"]
    assert bench.waiting(queue_of("act")) == 0


def test_a_log_file_is_written_once_however_often_the_store_fails(bench, tmp_path):
    file = tmp_path / "events.jsonl"
    bench.start(make_subscription("lines", LogVerb(file=file)))
    bench.store.failures = 4

    bench.publish(make_event(), make_event())
    bench.broker.advance(60 * SECOND)

    assert len(file.read_text().splitlines()) == 2
    assert bench.waiting(queue_of("lines")) == 0


def test_a_log_file_that_cannot_be_written_holds_up_nothing_else(bench, tmp_path):
    file = tmp_path / "later" / "events.jsonl"
    event = make_event()
    bench.start(make_subscription("lines", LogVerb(file=file)), make_subscription("audit"))
    bench.publish(event)
    before = [row.subscription for row in bench.rows()]

    file.parent.mkdir()
    bench.broker.advance(10 * SECOND)

    assert before == ["audit"]
    assert file.read_text().splitlines() == [event.to_json().decode()]
    assert {row.subscription for row in bench.rows()} == {"audit", "lines"}


def test_a_retry_that_the_broker_will_not_take_is_offered_until_it_does(bench):
    bench.handler = failing(1)
    bench.start(make_subscription("act", RUN))
    bench.broker.refuse_next()

    bench.publish(make_event())
    unacknowledged = bench.waiting(queue_of("act"))
    bench.broker.advance(60 * SECOND)

    assert unacknowledged == 1
    assert [row.outcome for row in bench.rows()] == ["retry", "done"]


def test_a_subscription_that_is_off_is_bound_but_not_served(bench):
    bench.start(make_subscription("act", RUN, mode="off"))

    bench.publish(make_event())

    assert bench.calls == []
    assert bench.waiting(queue_of("act")) == 1


def test_patterns_of_an_earlier_file_are_unbound(bench):
    event = make_event()
    bench.start(make_subscription("act", RUN, patterns=("gpfs.*.quota.#", "gpfs.*.disk.#")))
    bench.engine.stop()
    bench.broker.run()

    bench.broker = bench.broker.another(user="consumer")
    bench.start(make_subscription("act", RUN, patterns=("gpfs.*.disk.#",)))
    bench.publish(event)

    assert bench.calls == []
    keys = {each.key for each in bench.broker.model.bindings(queue_of("act")) if each.exchange == OWN_EVENTS}
    assert keys == {"gpfs.*.disk.#"}


def test_a_delivery_that_another_consumer_of_this_machine_has_begun_is_left_to_it(bench, monkeypatch):
    alive = [True]
    monkeypatch.setattr("consumers.processes.cleanup.is_alive", lambda _owner: alive[0])
    event = make_event()
    bench.start(make_subscription("act", RUN))
    delivery = make_delivery(event, "act")
    with bench.store.writing() as transaction:
        table.claim(transaction, [(table.Attempt(delivery, "another", "", now()), "")])

    bench.publish(event)
    bench.broker.advance(10 * SECOND)
    while_alive = list(bench.calls)
    alive[0] = False
    bench.broker.advance(10 * SECOND)

    assert while_alive == []
    assert len(bench.calls) == 1


def test_what_another_consumer_finishes_meanwhile_is_not_repeated(bench, monkeypatch):
    monkeypatch.setattr("consumers.processes.cleanup.is_alive", lambda _owner: True)
    event = make_event()
    bench.start(make_subscription("act", RUN))
    delivery = make_delivery(event, "act")
    with bench.store.writing() as transaction:
        table.claim(transaction, [(table.Attempt(delivery, "another", "", now()), "")])
    bench.publish(event)

    with bench.store.writing() as transaction:
        done = table.Attempt(delivery, "another", "", now(), now(), table.Done())
        table.record(transaction, [done])
    bench.broker.advance(10 * SECOND)

    assert bench.calls == []
    assert bench.waiting(queue_of("act")) == 0


def test_an_attempt_that_a_killed_consumer_began_is_repeated_and_says_so(bench):
    repeated = []
    bench.handler = lambda delivery: repeated.append(delivery.repeated) or Report()
    event = make_event()
    bench.start(make_subscription("act", RUN))
    delivery = make_delivery(event, "act")
    with bench.store.writing() as transaction:
        table.claim(transaction, [(table.Attempt(delivery, "of:another:boot:1:1", "", now()), "")])

    bench.publish(event)

    assert repeated == [True]
    assert [row.outcome for row in bench.rows()] == ["done"]


def test_a_stop_gives_back_what_the_store_would_not_take_within_the_limit(bench):
    bench.start(make_subscription("audit"))
    bench.store.failures = 1000
    bench.publish(make_event())

    bench.engine.stop(limit=5 * SECOND)
    bench.broker.advance(6 * SECOND)

    assert len(bench.broker.model.queue(queue_of("audit")).ready) == 1


def test_a_stop_waits_for_the_confirm_of_what_takes_a_deliverys_place(bench):
    bench.handler = failing(1)
    bench.start(make_subscription("act", RUN))
    bench.broker.blocked = True
    bench.publish(make_event())

    bench.engine.stop()
    bench.broker.run()
    blocked = len(bench.engine.in_flight)
    bench.broker.blocked = False
    bench.broker.run()

    assert blocked == 1
    assert list(bench.engine.in_flight) == []
    assert bench.waiting("clusterbus.retry.1s") == 1


def test_the_way_of_a_verb_says_how_much_is_fetched():
    stopping = threading.Event()

    logged, called = (
        serve(make_subscription("a"), Surroundings("a", stopping)),
        serve(make_subscription("b", RUN, concurrency=4), Surroundings("b", stopping)),
    )

    assert isinstance(logged.way, Logged)
    assert logged.way.prefetch == 500
    assert called.way.prefetch == 8
    called.close()


# Faults in the broker's thread are one delivery's


def _breaking(original, is_wrong):
    def broken(*given, **named):
        if is_wrong(*given, **named):
            raise OverflowError("date value out of range")
        return original(*given, **named)

    return broken


def test_a_delivery_that_cannot_be_filtered_is_a_dead_letter_and_others_go_on(bench, monkeypatch):
    bad, good = make_event(node="bad"), make_event(node="good")
    bench.start(make_subscription("act", RUN))
    served = next(iter(bench.engine._registry))
    broken = _breaking(served.lets_pass, lambda event: event.node == "bad")
    monkeypatch.setattr(type(served), "lets_pass", lambda _self, event: broken(event))

    bench.publish_at_once([bad, good])

    assert [call[1] for call in bench.calls] == [good.id]
    (letter,) = bench.broker.model.queue(DEAD).ready
    assert "OverflowError: date value out of range" in letter.headers["reason"]


def test_a_delivery_that_no_gate_can_answer_is_a_failed_attempt_and_others_of_its_batch_go_on(bench, monkeypatch):
    bad, good = make_event(node="bad"), [make_event(node="good") for _ in range(5)]
    bench.start(make_subscription("act", RUN, order_by=("data.fsName", "node"), retry=RetryPolicy(attempts=1)))
    original = admission.Admission._ask_gates
    broken = _breaking(original, lambda _, _t, due, _n: any(each.delivery.event.node == "bad" for each in due.values()))
    monkeypatch.setattr(admission.Admission, "_ask_gates", broken)

    bench.publish_at_once([good[0], bad, *good[1:]])
    bench.broker.advance(timedelta(minutes=1))

    assert sorted(call[1] for call in bench.calls) == sorted(each.id for each in good)
    assert [(row.event_id, row.outcome) for row in bench.rows() if row.outcome != "done"] == [(bad.id, "dead")]


def test_an_outcome_that_cannot_be_recorded_or_acted_on_is_a_dead_letter(bench, monkeypatch):
    bad, good = make_event(node="bad"), make_event(node="good")
    bench.start(make_subscription("act", RUN))
    broken = _breaking(settlement._messages, lambda each, *_: each.delivery.event.node == "bad")
    monkeypatch.setattr(settlement, "_messages", broken)

    bench.publish_at_once([bad, good])

    assert {call[1] for call in bench.calls} == {bad.id, good.id}
    (letter,) = bench.broker.model.queue(DEAD).ready
    assert letter.id == bad.id
    assert not bench.waiting(queue_of("act"))


def test_a_line_that_cannot_be_made_fails_alone(bench, monkeypatch, tmp_path):
    bad, good = make_event(node="bad"), [make_event() for _ in range(5)]
    broken = _breaking(lines._line, lambda delivery: delivery.event.node == "bad")
    monkeypatch.setattr(lines, "_line", broken)
    bench.start(make_subscription("log", LogVerb(file=tmp_path / "log"), retry=RetryPolicy(attempts=1)))

    bench.publish_at_once([good[0], bad, *good[1:]])

    assert len((tmp_path / "log").read_bytes().splitlines()) == 5
    assert bench.audited() == [each.id for each in good]
    assert [row.event_id for row in bench.rows() if row.outcome == "dead"] == [bad.id]


# Disks and plans that hang


def test_a_log_file_that_hangs_holds_up_only_its_own_subscription(bench, monkeypatch, tmp_path):
    began, go_on = threading.Event(), threading.Event()

    def hang(_file):
        began.set()
        go_on.wait(20)

    monkeypatch.setattr(lines.os, "fsync", hang)
    bench.start(make_subscription("log", LogVerb(file=tmp_path / "log", store=False)), make_subscription("act", RUN))
    served = {each.name: each for each in bench.engine._registry}
    served["log"].way.pool = ThreadPool(1, "log")
    event = make_event()

    bench.publish(event)

    assert began.wait(20)
    assert [call[1] for call in bench.calls] == [event.id]
    assert bench.waiting(queue_of("log")) == 1, "acknowledged before its line is on the disk"
    go_on.set()
    wait_for(lambda: bench.broker.run() or bench.waiting(queue_of("log")) == 0, 20, "the acknowledgement")


def test_a_plan_that_hangs_is_a_failed_attempt_and_holds_up_only_its_own_subscription(bench):
    began, go_on = threading.Event(), threading.Event()

    class Hanging(Recorded):
        def targets(self, _delivery):
            began.set()
            go_on.wait(20)
            return ("a",)

    bench.start(make_subscription("act", RUN), make_subscription("slow", RUN))
    served = {each.name: each for each in bench.engine._registry}
    served["slow"].is_planned, served["slow"].way.planning = True, ThreadPool(1, "plan")
    served["slow"].way.handler = Hanging(bench._call)
    served["slow"].gates = Pipeline([OpenBreakerGate()])

    bench.publish(make_event())
    assert began.wait(20)
    assert [call[0] for call in bench.calls] == ["act"]
    bench.broker.advance(timedelta(seconds=31))

    (row,) = [row for row in bench.rows() if row.subscription == "slow"]
    go_on.set()
    assert (row.outcome, "longer than 30s" in row.reason) == ("retry", True)


# Consumers that died


def test_an_attempt_whose_consumer_died_has_failed_and_the_third_is_a_dead_letter(bench):
    bench.is_contained = False
    event = make_event()
    bench.start(make_subscription("act", RUN, retry=RetryPolicy(attempts=8, first=timedelta(seconds=1), growth=1)))
    for attempt in (1, 2, 3):
        with bench.store.writing() as transaction:
            delivery = make_delivery(event, "act", attempt=attempt)
            table.claim(transaction, [(table.Attempt(delivery, "of:another:boot:1:1", "", now()), "")])
        if attempt == 1:
            bench.publish(event)
        else:
            bench.broker.advance(timedelta(seconds=1))

    assert bench.calls == []
    assert [row.outcome for row in bench.rows()] == ["retry", "retry", "dead"]
    assert bench.rows()[-1].reason == "the consumer died during 3 attempts of this delivery"


def test_a_message_near_the_limit_of_the_broker_is_renewed(bench):
    event = make_event()
    bench.start(make_subscription("act", RUN))
    bench.pool.held = True
    bench.publish(event)
    arrival = next(iter(bench.engine.in_flight)).messages.origin
    worn = dataclasses.replace(arrival, headers={**arrival.headers, "x-delivery-count": 12})

    assert messages.is_to_be_renewed(worn)
    assert not messages.is_to_be_renewed(arrival)
    renewed = messages.renewed_message(make_delivery(event, "act"), worn)
    assert (renewed.exchange, renewed.headers["renewals"], renewed.headers["attempt"]) == (RETURN, 1, 1)


def test_one_that_cannot_be_served_does_not_stop_the_others(bench, caplog):
    bench.unservable = {"act": "post.verify: has no certificates"}

    bench.start(make_subscription("act", RUN), make_subscription("audit"))
    bench.publish(make_event())

    assert bench.engine.counts.keys() == {"audit"}
    assert len(bench.audited()) == bench.waiting(queue_of("act")) == 1
    (line,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert line.subscription == "act"
    assert line.reason == "subscriptions.yaml:3: act: post.verify: has no certificates"


def test_a_reload_serves_what_could_not_be_served_before_and_leaves_out_what_cannot_be_now(bench):
    bench.unservable = {"act": "post.verify: no certificates"}
    bench.start(make_subscription("act", RUN), make_subscription("audit"), make_subscription("other", RUN))
    bench.publish(make_event())
    bench.unservable = {"other": "post.verify: no certificates"}

    changed = make_subscription("other", ["/bin/false"])
    bench.engine.reload(Subscriptions(subscriptions=(make_subscription("act", RUN), changed)))
    bench.broker.run()
    bench.publish(make_event())

    assert bench.engine.counts.keys() == {"act"}
    assert [name for name, *_ in bench.calls] == ["other", "act", "act"]
    assert bench.waiting(queue_of("other")) == 1


def test_a_reload_follows_the_catalogue_of_the_site_which_handlers_read_too(bench, tmp_path):
    """`notify` has the meanings and units of events from there, and reports of outcomes have its schemas."""
    file = tmp_path / "catalogue.yaml"
    file.write_text("version: 1\n")
    bench.settings = Settings.model_validate({"router": {"catalogue": str(file)}})
    made, act = [], Subscriptions(subscriptions=(make_subscription("act", RUN),))
    bench.make = lambda *given, **options: made.append("made") or Recorded(*given, **options)
    bench.start(*act.subscriptions)

    bench.engine.reload(act)
    assert made == ["made"], "the catalogue is the same"
    file.write_text("no: catalogue\n")
    bench.engine.reload(act)
    assert made == ["made"], "it cannot be read"
    file.write_text("version: 1\ngpfs: {events: {tierMoved: {category: disk, meaning: Moved}}}\n")
    bench.engine.reload(act)
    bench.broker.run()
    bench.publish(make_event())

    assert made == ["made", "made"]
    assert "tierMoved" in bench.engine._events.catalogues["gpfs"].events
    assert bench.calls == [("act", bench.calls[0][1], 1)]


@pytest.mark.parametrize("later", [0 * SECOND, 3 * SECOND], ids=["its thread comes first", "the broker's thread does"])
def test_where_the_machine_was_frozen_before_a_call_the_broker_is_asked_who_has_the_delivery(bench, later):
    """The broker has given it to another consumer by then, which may be done with it."""
    event = make_event()
    bench.start(make_subscription("act", RUN))
    bench.pool.held = "begun"
    bench.publish(event)

    bench.broker.freeze(30 * SECOND)
    bench.broker.advance(later)
    bench.pool.release()
    called = list(bench.calls)
    bench.broker.run()

    assert called == []
    assert bench.calls == [("act", event.id, 1)]
    assert [row.outcome for row in bench.rows()] == ["done"]
    assert bench.waiting(queue_of("act")) == 0


def test_a_delivery_that_waits_long_for_a_thread_is_called_all_the_same(bench):
    bench.start(make_subscription("act", RUN))
    bench.pool.held = "begun"
    bench.publish(make_event())

    bench.broker.advance(60 * SECOND)
    bench.pool.release()

    assert len(bench.calls) == 1


@pytest.mark.parametrize("depends_on", [(), ("host",)], ids=["called", "planned"])
def test_a_delivery_that_cannot_be_enriched_fails_with_the_reason_and_the_next_one_goes_on(bench, depends_on):
    bench.depends_on = depends_on
    bench.start(make_subscription("act", RUN, retry=RetryPolicy(attempts=1)))
    [served] = bench.engine._registry
    usual, broken = served.enriched, make_event()

    def enriched(delivery):
        if delivery.event.id == broken.id:
            raise KeyError("facts")
        return usual(delivery)

    served.enriched = enriched
    bench.publish(broken, other := make_event())

    ended = {row.event_id: (row.outcome, row.reason) for row in bench.rows()}
    assert ended == {broken.id: ("dead", "KeyError: 'facts'"), other.id: ("done", None)}
