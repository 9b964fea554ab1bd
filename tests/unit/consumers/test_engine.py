import threading
from collections import Counter
from datetime import timedelta

from consumers.deliveries import Report
from consumers.servings import Logged, serve
from consumers.store import deliveries as table
from consumers.subscriptions import Subscriptions
from consumers.verbs import Surroundings
from consumers.verbs.log import LogVerb
from router.broker import Message
from router.broker.topology import DEAD, EVENTS, RETURN, queue_of
from tests.consuming import make_event, make_subscription, now

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
    assert bench.broker.published[0].headers["reason"].startswith("no event")
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
    keys = {each.key for each in bench.broker.model.bindings(queue_of("act")) if each.exchange == EVENTS}
    assert keys == {"gpfs.*.disk.#"}


def test_a_delivery_that_another_consumer_of_this_machine_has_begun_is_left_to_it(bench, monkeypatch):
    alive = [True]
    monkeypatch.setattr("consumers.children.is_alive", lambda _owner: alive[0])
    event = make_event()
    bench.start(make_subscription("act", RUN))
    delivery = table.Delivery(event, "act", event.topic, event.to_json())
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
    monkeypatch.setattr("consumers.children.is_alive", lambda _owner: True)
    event = make_event()
    bench.start(make_subscription("act", RUN))
    delivery = table.Delivery(event, "act", event.topic, event.to_json())
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
    delivery = table.Delivery(event, "act", event.topic, event.to_json())
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
    blocked = len(bench.engine._flights)
    bench.broker.blocked = False
    bench.broker.run()

    assert blocked == 1
    assert bench.engine._flights == {}
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
