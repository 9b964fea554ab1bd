"""Which queues refuse what is published, as the broker's facts say."""

from typing import Any

import pytest

from router.broker.topology import DEAD, EVENTS, HISTORY, OWN_EVENTS, Binding, queue_of
from router.broker.users.refusing_queues import QueueState, RefusingQueue, refusing

REJECT = {"x-overflow": "reject-publish"}
AUDIT = queue_of("audit")


def found(
    arguments: dict[str, object],
    *,
    name: str = "theirs",
    exchange: str = EVENTS,
    messages: int = 3,
    octets: int = 300,
    **definitions: list[dict[str, Any]],
) -> list[RefusingQueue]:
    queue = QueueState(name, arguments, messages, octets)
    return refusing([queue], [Binding(exchange, name)], definitions, "bus")


def policy(**definition: object) -> dict[str, Any]:
    return {"vhost": "bus", "name": "p", "pattern": "^theirs$", "definition": definition, "priority": 0}


@pytest.mark.parametrize(
    ("arguments", "is_full", "limit", "unit"),
    [
        ({"x-max-length": 3}, True, 3, "messages"),
        ({"x-max-length": 4}, False, 4, "messages"),
        ({"x-max-length": 0}, True, 0, "messages"),
        ({"x-max-length-bytes": 300}, True, 300, "octets"),
        ({"x-max-length": 4, "x-max-length-bytes": 200}, True, 200, "octets"),
        ({"x-max-length": 4, "x-max-length-bytes": 2000}, False, 4, "messages"),
    ],
)
def test_a_queue_with_a_limit_that_rejects_is_found(arguments, is_full, limit, unit):
    (one,) = found({**REJECT, **arguments})

    assert one == RefusingQueue("theirs", EVENTS, False, limit, unit, None, is_full)


@pytest.mark.parametrize(
    "arguments",
    [{}, REJECT, {"x-max-length": 1}, {"x-max-length": 1, "x-overflow": "drop-head"}, {**REJECT, "x-max-length": "1"}],
)
def test_a_queue_that_refuses_nothing_is_not_found(arguments):
    assert found(arguments) == []


def test_a_policy_makes_a_quorum_queue_refuse_what_it_would_drop():
    own, rejecting = {"x-max-length": 3, "x-overflow": "drop-head"}, policy(overflow="reject-publish")

    assert [each.cause for each in found({**own, "x-queue-type": "quorum"}, policies=[rejecting])] == ["p"]
    assert found(own, policies=[rejecting]) == []


def test_policies_count_as_arguments_do_and_are_named():
    limited, rejecting = policy(**{"max-length": 2}), policy(**{"max-length": 2, "overflow": "reject-publish-dlx"})

    assert found({}, policies=[limited]) == []
    assert [each.cause for each in found(REJECT, policies=[limited])] == ["p"]
    assert [each.cause for each in found({}, policies=[rejecting])] == ["p"]
    assert found({}, policies=[rejecting | {"vhost": "other"}]) == []
    assert found({}, policies=[rejecting | {"pattern": "("}]) == []
    assert found({}, policies=[rejecting, policy() | {"priority": 9}]) == [], (
        "only that of the highest priority applies"
    )
    operator = {"component": "operator_policy", "vhost": "bus", "name": "o"}
    operator["value"] = {"pattern": "theirs", "definition": {"max-length": 1}}
    assert [(each.cause, each.limit) for each in found({}, policies=[rejecting], parameters=[operator])] == [("o", 1)]


@pytest.mark.parametrize(
    ("name", "exchange", "is_ours"),
    [(AUDIT, OWN_EVENTS, True), (HISTORY, OWN_EVENTS, True), ("clusterbus.mine", EVENTS, False), ("x", DEAD, False)],
)
def test_our_own_queues_are_told_from_those_of_others(name, exchange, is_ours):
    (one,) = found({**REJECT, "x-max-length": 1}, name=name, exchange=exchange)

    assert (one.is_ours, one.exchange) == (is_ours, exchange)


def test_a_queue_that_nothing_leads_to_is_left_alone_and_one_behind_other_exchanges_is_not():
    queues = [QueueState(each, {**REJECT, "x-max-length": 1}, 1, 1) for each in ("behind", "elsewhere")]
    bindings = [
        Binding(EVENTS, "a", of_exchange=True),
        Binding("a", "b", of_exchange=True),
        Binding("b", "a", of_exchange=True),
        Binding("b", "behind"),
        Binding("c", "elsewhere"),
    ]

    assert [each.name for each in refusing(queues, bindings, {}, "bus")] == ["behind"]
