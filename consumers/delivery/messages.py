"""Deliveries as messages of the broker: reads and writes the headers of ARCHITECTURE.md section 6."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from router.broker.interface import Arrival, HeaderValue, Message, clean
from router.broker.topology import DEAD, DELIVERIES, RETRY, RETURN
from router.errors import InvalidEvent
from router.model.bounds import KEY, REASON, fitting_headers, fitting_id
from router.model.events import Event
from router.model.topics import LONGEST
from router.sources.arguments import fitted

from ..deliveries import FOLDED, HANDED_OVER, Delivery
from ..policies.retry import step_for, step_within

LARGEST_ATTEMPT = 1000
_LONGEST_NONCE = 64
"""Long enough for `>` and the name of a subscription."""


_RENEWALS = "renewals"
_OFTEN, _MOST_RENEWALS = DELIVERIES // 2, 20
"""Deliveries by the broker before a message is renewed.  The number of renewals ends what nothing else would end."""


def read(arrival: Arrival, subscription: str) -> Delivery:
    """Return the delivery that *arrival* brings to *subscription*.

    Our headers are trusted only on messages that come back through `clusterbus.return`: only consumers may publish
    to where those come from.  Raises InvalidEvent.
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
    """Return the topic of the event in *arrival*: the key of one that comes back is only its retry step."""
    topic = arrival.headers.get("topic")
    return topic if isinstance(topic, str) and 0 < len(topic) <= LONGEST else arrival.key


def _attempt(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_ATTEMPT:
        raise InvalidEvent(f"header 'attempt' is {value!r:.100}, not a number from 1 to {LARGEST_ATTEMPT}")
    # The client may bring a subclass (pika's `long`).
    return int(value)


def _text(value: object, name: str, longest: int) -> str:
    # Two that a database can't tell apart would be one delivery in it.
    if not isinstance(value, str) or len(value) > longest or not (value.isascii() and "\0" not in value):
        raise InvalidEvent(f"header {name!r} is {value!r:.100}, not a text of at most {longest} characters of ASCII")
    return value


def retry_message(delivery: Delivery, arrival: Arrival, delay: timedelta) -> Message:
    """Return the message that brings *delivery*, which came in *arrival*, back after *delay* as its next attempt."""
    return _later(delivery, arrival, step_for(delay), delivery.attempt + 1)


def wait_message(delivery: Delivery, arrival: Arrival, delay: timedelta) -> Message:
    """Return the message that brings *delivery* back as the same attempt after *delay*.

    It may come back earlier, and then waits for the rest.
    """
    return _later(delivery, arrival, step_within(delay), delivery.attempt)


def renewed_message(delivery: Delivery, arrival: Arrival) -> Message:
    """Return a copy of *arrival* for the same queue, which the broker has not counted the deaths of consumers for."""
    return _of(delivery, arrival, RETURN, delivery.topic, _headers(delivery) | {_RENEWALS: _renewals(arrival) + 1})


def is_to_be_renewed(arrival: Arrival) -> bool:
    """Say whether the broker has brought *arrival* so often that its limit is near.

    The limit counts each consumer that died while it held the message, whatever it died of.
    """
    count = arrival.headers.get("x-delivery-count", 0)
    return isinstance(count, int) and count >= _OFTEN and _renewals(arrival) < _MOST_RENEWALS


def _renewals(arrival: Arrival) -> int:
    found = arrival.headers.get(_RENEWALS, 0) if arrival.exchange == RETURN else 0
    return found if isinstance(found, int) else 0


def fold_message(delivery: Delivery, arrival: Arrival, delay: timedelta) -> Message:
    """Return the message that brings, after *delay* or earlier, the delivery that stands for the fold of *delivery*."""
    return _later(replace(delivery, replay=FOLDED), arrival, step_within(delay), 1)


def _later(delivery: Delivery, arrival: Arrival, step: str, attempt: int) -> Message:
    return _of(delivery, arrival, RETRY, step, _headers(delivery) | {"attempt": attempt})


def other_message(delivery: Delivery, arrival: Arrival, subscription: str, reason: str) -> Message:
    """Return the message that brings the event of *delivery*, which is given up, to another *subscription* instead."""
    headers: dict[str, HeaderValue] = {"subscription": subscription, "attempt": 1, "topic": delivery.topic}
    headers |= {"replay": f"{HANDED_OVER}{delivery.subscription}", "reason": reason}
    return _of(delivery, arrival, RETURN, delivery.topic, headers)


def dead_message(delivery: Delivery, arrival: Arrival, reason: str) -> Message:
    """Return the message that moves *delivery*, which came in *arrival*, to the dead letters."""
    return _of(delivery, arrival, DEAD, "", _headers(delivery) | {"reason": reason})


def unreadable_message(arrival: Arrival, subscription: str, reason: str) -> Message:
    """Return the message that moves *arrival*, which is not a delivery, to the dead letters as it is."""
    facts = {"subscription": subscription, "topic": topic_of(arrival), "reason": fitted(reason, REASON)}
    return Message(DEAD, "", arrival.body, id=fitting_id(arrival.id), headers=_carried(arrival) | facts)


def _of(delivery: Delivery, arrival: Arrival, exchange: str, key: str, own: dict[str, HeaderValue]) -> Message:
    """Return a message of *delivery* that the broker takes, whatever *arrival*, in which it came, was made of."""
    kind = fitted(delivery.event.type, KEY)
    headers = _carried(arrival) | own
    return Message(exchange, fitted(key, KEY), delivery.body, delivery.event.id, kind, headers=headers)


def _carried(arrival: Arrival) -> dict[str, HeaderValue]:
    return fitting_headers(clean(arrival.headers), "traceparent", "replay", _RENEWALS)


def _headers(delivery: Delivery) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {
        "subscription": delivery.subscription,
        "attempt": delivery.attempt,
        "topic": delivery.topic,
    }
    return headers | {"replay": delivery.replay} if delivery.replay else headers
