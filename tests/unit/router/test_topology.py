"""The topology holds to the rules that were found by trying."""

import pytest

from router.broker.declaring import steps
from router.broker.model import Model, Stored
from router.broker.topology import (
    DEAD,
    EVENTS,
    INGRESS,
    REJECTED,
    RETRY,
    RETURN,
    RUNGS,
    UNROUTED,
    Binding,
    Topology,
    base,
    plan,
    queue_of,
    subscription,
)

WHOLE = base() + subscription("audit", ["#"]) + subscription("quota", ["gpfs.*.quota.#"])


@pytest.mark.parametrize("queue", WHOLE.queues, ids=lambda queue: queue.name)
def test_every_queue_is_replicated_and_gives_up_explicitly(queue):
    kind = queue.arguments["x-queue-type"]

    assert kind in {"quorum", "stream"}
    if kind == "quorum":
        assert queue.arguments["x-delivery-limit"] > 0
        assert "x-max-length" not in queue.arguments
    if "x-dead-letter-exchange" in queue.arguments:
        assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"
        assert queue.arguments["x-overflow"] == "reject-publish"


@pytest.mark.parametrize("exchange", WHOLE.exchanges, ids=lambda exchange: exchange.name)
def test_no_exchange_can_swallow_a_message(exchange):
    caught = exchange.arguments.get("alternate-exchange", exchange.name)

    assert any(binding.exchange == caught and not binding.key for binding in WHOLE.bindings)


def test_whatever_is_published_anywhere_ends_in_a_queue():
    model = Model()
    model.declare(WHOLE)

    for exchange in WHOLE.exchanges:
        assert model.publish(Stored(exchange.name, "no.such.key", b"", "id", None, {})), exchange.name


def test_dead_letters_go_to_exchanges_that_are_there():
    known = {exchange.name for exchange in WHOLE.exchanges}

    named = {queue.arguments.get("x-dead-letter-exchange") for queue in WHOLE.queues} - {None}

    assert named == {REJECTED, RETURN, DEAD}
    assert named <= known


def test_each_rung_waits_as_long_as_it_says():
    waits = {queue.name: queue.arguments.get("x-message-ttl") for queue in base().queues}

    for rung, delay in RUNGS.items():
        assert waits[f"{RETRY}.{rung}"] == delay.total_seconds() * 1000


def test_a_retry_returns_to_its_subscription_alone():
    model = Model()
    model.declare(WHOLE)

    model.publish(Stored(RETRY, "5s", b"", "id", None, {"subscription": "quota"}))
    model.now += RUNGS["5s"]
    model.expire()

    assert len(model.queue(queue_of("quota")).ready) == 1
    assert not model.queue(queue_of("audit")).ready


def test_what_nobody_subscribed_to_is_in_the_history_and_what_no_rung_takes_is_kept():
    model = Model()
    model.declare(base())

    model.publish(Stored(EVENTS, "gpfs.prod.x.y.-.n", b"", "id", None, {}))
    model.publish(Stored(RETRY, "1 fortnight", b"", "id", None, {}))

    assert len(model.queue("clusterbus.history").ready) == 1
    assert len(model.queue(UNROUTED).ready) == 1


def test_the_plan_has_a_line_for_each_object():
    whole = WHOLE + Topology(stale=(Binding(EVENTS, queue_of("audit"), "old.#"),))

    lines = plan(whole)

    assert len(lines) == len(steps(whole))
    assert f"exchange {INGRESS}: topic, alternate-exchange={UNROUTED}" in lines
    assert f"no binding {EVENTS} to {queue_of('audit')}: old.#" in lines
    assert any(line.startswith(f"queue {INGRESS}: ") and "x-single-active-consumer=True" in line for line in lines)
