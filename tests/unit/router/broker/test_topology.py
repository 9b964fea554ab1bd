"""The topology holds to the rules that were found by trying."""

import pytest

from router.broker.declaration_steps import steps
from router.broker.topology import (
    DEAD,
    EVENTS,
    FILTER,
    FOR_OTHERS,
    HISTORY,
    OWN_EVENTS,
    REJECTED,
    RETRY,
    RETRY_STEPS,
    RETURN,
    UNROUTED,
    Binding,
    Queue,
    Topology,
    base,
    event_binding,
    queue_of,
    subscription,
)
from tests.broker.model import Model, Stored

WHOLE = base() + subscription("audit", ["#"]) + subscription("quota", ["gpfs.*.quota.#"])


@pytest.mark.parametrize("queue", WHOLE.queues, ids=lambda queue: queue.name)
def test_every_queue_is_replicated_and_gives_up_explicitly(queue):
    kind = queue.arguments["x-queue-type"]

    assert kind in {"quorum", "stream"}
    if kind == "quorum":
        assert queue.arguments["x-delivery-limit"] > 0
        # Octets count bodies only: where octets are limited, so is the number of messages, each with its headers.
        assert ("x-max-length" in queue.arguments) == ("x-max-length-bytes" in queue.arguments)
    if "x-dead-letter-exchange" in queue.arguments:
        assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"
        assert queue.arguments["x-overflow"] == "reject-publish"


@pytest.mark.parametrize("exchange", WHOLE.exchanges, ids=lambda exchange: exchange.name)
def test_no_exchange_can_swallow_a_message(exchange):
    alternates = {each.name: each.arguments.get("alternate-exchange") for each in WHOLE.exchanges}
    caught = exchange.name
    while alternates[caught]:
        caught = alternates[caught]

    assert any(binding.exchange == caught and not binding.key for binding in WHOLE.bindings)


def test_whatever_is_published_anywhere_ends_in_a_queue():
    model = Model()
    model.declare(WHOLE)

    for exchange in WHOLE.exchanges:
        assert model.publish(Stored(exchange.name, "no.such.key", b"", "id", None, {})), exchange.name


def test_our_own_queues_and_those_of_others_can_be_published_to_apart():
    model = Model()
    strangers = Topology(queues=(Queue("theirs"),), bindings=(Binding(EVENTS, "theirs", "gpfs.#"),))
    model.declare(WHOLE + strangers)
    queues = ("theirs", HISTORY, queue_of("audit"))

    def brought(exchange, headers):
        model.publish(Stored(exchange, "gpfs.prod.x.y.-.n", b"", "id", None, headers))
        found = [len(model.queue(each).ready) for each in queues]
        for each in queues:
            model.queue(each).ready.clear()
        return found

    assert brought(EVENTS, {}) == [1, 1, 1]
    assert brought(OWN_EVENTS, {}) == [0, 1, 1]
    assert brought(EVENTS, dict(FOR_OTHERS)) == [1, 0, 0]


def test_a_queue_of_an_earlier_release_gets_each_event_once():
    model = Model()
    audit = queue_of("audit")
    model.declare(WHOLE + Topology(bindings=(Binding(EVENTS, audit, "#"),)))
    model.declare(WHOLE)

    assert [each.exchange for each in model.bindings(audit)] == [OWN_EVENTS, RETURN]


def test_where_the_exchange_of_our_own_queues_exists_events_reach_it():
    said = [str(each) for each in steps(WHOLE)]

    ways = [f"binding of {FILTER} to {EVENTS} by '#'", f"binding of {EVENTS} to {FILTER} by 'headers'"]
    assert max(map(said.index, ways)) < said.index(f"exchange {OWN_EVENTS}")


def test_a_binding_is_removed_after_the_one_that_replaces_it_and_kept_where_that_is_denied():
    new, old = steps(Topology(bindings=(event_binding("q", "#"),)))

    assert (str(new), str(old)) == (f"binding of q to {OWN_EVENTS} by '#'", f"no binding of q to {EVENTS} by '#'")
    assert old.after == str(new)
    assert [each.gone for each in steps(Topology(stale=(event_binding("q", "#"),)))] == [True, True]


def test_dead_letters_go_to_exchanges_that_are_there():
    known = {exchange.name for exchange in WHOLE.exchanges}

    named = {queue.arguments.get("x-dead-letter-exchange") for queue in WHOLE.queues} - {None}

    assert named == {REJECTED, RETURN, DEAD}
    assert named <= known


def test_each_retry_step_waits_as_long_as_it_says():
    waits = {queue.name: queue.arguments.get("x-message-ttl") for queue in base().queues}

    for step, delay in RETRY_STEPS.items():
        assert waits[f"{RETRY}.{step}"] == delay.total_seconds() * 1000


def test_a_retry_returns_to_its_subscription_alone():
    model = Model()
    model.declare(WHOLE)

    model.publish(Stored(RETRY, "5s", b"", "id", None, {"subscription": "quota"}))
    model.now += RETRY_STEPS["5s"]
    model.expire()

    assert len(model.queue(queue_of("quota")).ready) == 1
    assert not model.queue(queue_of("audit")).ready


def test_what_nobody_subscribed_to_is_in_the_history_and_what_no_retry_step_takes_is_kept():
    model = Model()
    model.declare(base())

    model.publish(Stored(EVENTS, "gpfs.prod.x.y.-.n", b"", "id", None, {}))
    model.publish(Stored(RETRY, "1 fortnight", b"", "id", None, {}))

    assert len(model.queue("clusterbus.history").ready) == 1
    assert len(model.queue(UNROUTED).ready) == 1
