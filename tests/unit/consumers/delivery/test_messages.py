from datetime import timedelta

import pytest

from consumers.delivery.messages import clean, dead_message, read, retry_message
from router.broker.interface import Arrival
from router.broker.topology import DEAD, EVENTS, RETRY, RETURN
from router.errors import InvalidEvent
from tests.consuming import make_event

EVENT = make_event()


def arrive(*, exchange=EVENTS, key=EVENT.topic, body=None, **headers):
    return Arrival("clusterbus.sub.a", exchange, key, body or EVENT.to_json(), EVENT.id, None, headers, False, None)


def test_an_event_that_arrives_first_is_its_first_attempt():
    delivery = read(arrive(), "a")

    assert (delivery.event, delivery.attempt, delivery.replay, delivery.topic) == (EVENT, 1, "", EVENT.topic)


def test_what_returns_says_which_attempt_it_is_and_where_it_was_published():
    delivery = read(arrive(exchange=RETURN, key="5s", attempt=3, topic=EVENT.topic, replay="NONCE"), "a")

    assert (delivery.attempt, delivery.replay, delivery.topic) == (3, "NONCE", EVENT.topic)


def test_headers_are_believed_only_of_what_returns():
    delivery = read(arrive(attempt=3, topic="other", replay="NONCE"), "a")

    assert (delivery.attempt, delivery.replay, delivery.topic) == (1, "", EVENT.topic)


@pytest.mark.parametrize("attempt", [0, -1, True, "2", 10**9, None, [1], 1.5])
def test_an_attempt_that_is_no_number_of_ours_is_refused(attempt):
    with pytest.raises(InvalidEvent, match="attempt"):
        read(arrive(exchange=RETURN, attempt=attempt), "a")


@pytest.mark.parametrize("replay", [5, "x" * 65, ["a"]])
def test_a_replay_that_is_no_nonce_is_refused(replay):
    with pytest.raises(InvalidEvent, match="replay"):
        read(arrive(exchange=RETURN, replay=replay), "a")


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[" * 100_000, EVENT.to_json()[:-1]])
def test_bytes_that_are_no_event_are_refused(body):
    with pytest.raises(InvalidEvent):
        read(arrive(body=body or b" "), "a")


def test_a_retry_goes_to_its_step_as_the_next_attempt():
    arrival = arrive(exchange=RETURN, key="5s", attempt=2, topic=EVENT.topic, replay="NONCE", traceparent="00-a-b-01")

    message = retry_message(read(arrival, "a"), arrival, timedelta(seconds=60))

    assert (message.exchange, message.key, message.body, message.id) == (RETRY, "1m", EVENT.to_json(), EVENT.id)
    assert message.headers == {
        "subscription": "a",
        "attempt": 3,
        "topic": EVENT.topic,
        "replay": "NONCE",
        "traceparent": "00-a-b-01",
    }


def test_a_dead_letter_keeps_what_it_was_and_why():
    arrival = arrive()

    message = dead_message(read(arrival, "a"), arrival, "exit code 3")

    assert message.exchange == DEAD
    assert message.headers == {"subscription": "a", "attempt": 1, "topic": EVENT.topic, "reason": "exit code 3"}


def test_what_would_route_copies_is_never_published_again():
    headers = {"CC": ["a"], "BCC": ["b"], "x-death": [{}], "X-Match": "all", "x-delivery-count": 3, "a": 1, "b": b"x"}

    assert clean(headers) == {"a": 1}
