"""Between what is on the wire and deliveries: the headers of ARCHITECTURE.md section 5, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from router.broker import Arrival, HeaderValue, Message
from router.broker.topology import DEAD, RETRY, RETURN
from router.errors import InvalidEvent
from router.events import Event
from router.topics import LONGEST

from .deliveries import FOLDED, HANDED_OVER, Delivery
from .retries import hop, rung

LARGEST_ATTEMPT = 1000
_LONGEST_NONCE = 64
"""Enough for `>` and the name of a subscription."""


def read(arrival: Arrival, subscription: str) -> Delivery:
    """Return the delivery that *arrival* brings to *subscription*.

    What our headers say is believed only of what comes back through `clusterbus.return`: nobody but a consumer may
    publish towards it.  Raises InvalidEvent.
    """
    event = Event.from_json(arrival.body)
    if arrival.exchange != RETURN:
        return Delivery(event, subscription, arrival.key, arrival.body)
    headers = arrival.headers
    return Delivery(
        event,
        subscription,
        topic=topic_of(arrival),
        body=arrival.body,
        attempt=_attempt(headers.get("attempt", 1)),
        replay=_text(headers.get("replay", ""), "replay", _LONGEST_NONCE),
    )


def topic_of(arrival: Arrival) -> str:
    """Return the topic of the event in *arrival*: of what returns, the key is only the rung that it waited on."""
    topic = arrival.headers.get("topic")
    return topic if isinstance(topic, str) and 0 < len(topic) <= LONGEST else arrival.key


def _attempt(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_ATTEMPT:
        raise InvalidEvent(f"header 'attempt' is {value!r:.100}, not a number from 1 to {LARGEST_ATTEMPT}")
    # The broker line may bring a subclass (pika's `long`).
    return int(value)


def _text(value: object, name: str, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise InvalidEvent(f"header {name!r} is {value!r:.100}, not a text of at most {longest} characters")
    return value


def retry_message(delivery: Delivery, arrival: Arrival, delay: timedelta) -> Message:
    """Return what brings *delivery*, which came in *arrival*, back after *delay* as its next attempt."""
    return _later(delivery, arrival, rung(delay), delivery.attempt + 1)


def wait_message(delivery: Delivery, arrival: Arrival, delay: timedelta) -> Message:
    """Return what brings *delivery* back as the same attempt after *delay*, or before that, to wait for the rest."""
    return _later(delivery, arrival, hop(delay), delivery.attempt)


def fold_message(delivery: Delivery, arrival: Arrival, delay: timedelta) -> Message:
    """Return what brings back, after *delay* or before that, the delivery which tells what is folded."""
    return _later(replace(delivery, replay=FOLDED), arrival, hop(delay), 1)


def _later(delivery: Delivery, arrival: Arrival, rung: str, attempt: int) -> Message:
    return Message(
        RETRY,
        rung,
        delivery.body,
        id=delivery.event.id,
        type=delivery.event.type,
        headers=clean(arrival.headers) | _headers(delivery) | {"attempt": attempt},
    )


def other_message(delivery: Delivery, arrival: Arrival, subscription: str, reason: str) -> Message:
    """Return what brings the event of *delivery*, which is given up, to another *subscription* in its place."""
    headers = clean(arrival.headers) | {"subscription": subscription, "attempt": 1, "topic": delivery.topic}
    headers |= {"replay": f"{HANDED_OVER}{delivery.subscription}", "reason": reason}
    return Message(RETURN, delivery.topic, delivery.body, delivery.event.id, delivery.event.type, headers=headers)


def dead_message(delivery: Delivery, arrival: Arrival, reason: str) -> Message:
    """Return what takes *delivery*, which came in *arrival*, to the dead letters."""
    return Message(
        DEAD,
        "",
        delivery.body,
        id=delivery.event.id,
        type=delivery.event.type,
        headers=clean(arrival.headers) | _headers(delivery) | {"reason": reason},
    )


def unreadable_message(arrival: Arrival, subscription: str, reason: str) -> Message:
    """Return what takes *arrival*, which is no delivery, to the dead letters as it is."""
    facts = {"subscription": subscription, "topic": topic_of(arrival), "reason": reason}
    return Message(DEAD, "", arrival.body, id=arrival.id, headers=clean(arrival.headers) | facts)


def _headers(delivery: Delivery) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {
        "subscription": delivery.subscription,
        "attempt": delivery.attempt,
        "topic": delivery.topic,
    }
    return headers | {"replay": delivery.replay} if delivery.replay else headers


def clean(headers: Mapping[str, object]) -> dict[str, HeaderValue]:
    """Return what of *headers* may be published again: the broker's own, and those that would route copies, not.

    >>> clean({"traceparent": "00-a-b-01", "x-death": [], "x-delivery-count": 2, "CC": ["a"], "at": 1.5})
    {'traceparent': '00-a-b-01'}
    """
    return {
        name: value
        for name, value in headers.items()
        if isinstance(value, str | int | bool) and name not in {"CC", "BCC"} and not name.lower().startswith("x-")
    }
