"""Acts on outcomes: publishes what takes a delivery's place, and goes on only when the broker has it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import assert_never

from router.broker.interface import Arrival, Broker, Message, Settlement

from ..deliveries import FOLDED, DeadLetter, Delivery, Done, Retry, Skipped, Waiting
from .active_subscription import Counts
from .in_flight import InFlight
from .messages import (
    dead_message,
    fold_message,
    other_message,
    renewed_message,
    retry_message,
    unreadable_message,
    wait_message,
)
from .outcome_events import OutcomeEvents
from .states import Recorded

log = logging.getLogger(__name__)

_REFUSED = timedelta(seconds=30)
"""Until a message that the broker refused is published again."""


def act(
    broker: Broker,
    in_flight: InFlight,
    recorded: Recorded,
    finish: Callable[[InFlight], None],
    events: OutcomeEvents,
) -> None:
    """Do what the outcome of *in_flight* asks for; call *finish* when nothing can be lost any more."""
    _count(recorded, in_flight.subscription.counts)
    messages = list(_messages(in_flight, recorded, events))
    left = len(messages)

    def one_has_it() -> None:
        nonlocal left
        left -= 1
        if not left:
            finish(in_flight)

    for message in messages:
        _hand_over(broker, message, one_has_it)
    if not messages:
        finish(in_flight)


def _messages(in_flight: InFlight, recorded: Recorded, events: OutcomeEvents) -> Iterator[Message]:
    """Yield all messages that take the place of *in_flight*."""
    delivery, outcome = recorded.delivery, recorded.outcome
    origin, subscription = in_flight.messages.origin, in_flight.subscription.definition
    if not recorded.is_old:
        yield from events.messages(delivery, outcome, subscription)
    match outcome:
        case Skipped(word, _, result) if word == FOLDED and result.get("head") == delivery.event.id:
            # The first event of its fold: the message that comes back later stands for all of them.
            wait = result.get("wait")
            delay = timedelta(seconds=wait if isinstance(wait, (int, float)) else 0)
            yield fold_message(delivery, origin, delay)
        case Waiting(delay):
            yield wait_message(delivery, origin, delay)
        case Retry(delay):
            yield retry_message(delivery, origin, delay)
        case DeadLetter(reason):
            yield dead_message(delivery, origin, reason)
            if subscription.retry.then:
                yield other_message(delivery, origin, subscription.retry.then, reason)
        case Done() | Skipped():
            pass
        case _:
            assert_never(outcome)


def _count(recorded: Recorded, counts: Counts) -> None:
    is_new = not recorded.is_repeated
    counts.repeated += recorded.is_repeated
    match recorded.outcome:
        case Done():
            counts.done += is_new
        case Skipped(word):
            counts.skipped[word] += is_new
        case Waiting():
            counts.waited += is_new
        case Retry(delay, reason):
            counts.retried += is_new
            log.warning("delivery failed, will retry", extra=_facts(recorded.delivery, reason) | {"delay": str(delay)})
        case DeadLetter(reason):
            counts.dead += is_new
            log.error("delivery dead-lettered", extra=_facts(recorded.delivery, reason))
        case _:
            assert_never(recorded.outcome)


def _facts(delivery: Delivery, reason: str) -> dict[str, object]:
    key = {"subscription": delivery.subscription, "id": delivery.event.id}
    return key | {"attempt": delivery.attempt, "reason": reason}


def defer(broker: Broker, in_flight: InFlight, delay: timedelta, then: Callable[[], None]) -> None:
    """Have the broker keep a copy of *in_flight* for *delay*; call *then* when it has the copy."""
    _hand_over(broker, wait_message(in_flight.delivery, in_flight.messages.origin, delay), then)


def park(broker: Broker, arrival: Arrival, subscription: str, reason: str, parked: Callable[[], None]) -> None:
    """Move *arrival*, which is not a delivery, to the dead letters as it is; call *parked* when they have it."""
    log.error(
        "message is not a valid event, moving it to the dead letters",
        extra={"subscription": subscription, "id": arrival.id, "reason": reason},
    )
    _hand_over(broker, unreadable_message(arrival, subscription, reason), parked)


def set_aside(
    broker: Broker, in_flight: InFlight, reason: str, events: OutcomeEvents, then: Callable[[], None]
) -> None:
    """Move the message of *in_flight*, which cannot be recorded or acted on, to the dead letters; call *then* after."""
    origin, name = in_flight.messages.origin, in_flight.subscription.name
    facts = {"subscription": name, "id": origin.id, "reason": reason}
    log.error("outcome cannot be recorded, moving the delivery to the dead letters", extra=facts)
    in_flight.subscription.counts.dead += 1
    for each in events.messages(in_flight.delivery, DeadLetter(reason), in_flight.subscription.definition):
        _hand_over(broker, each, lambda: None)
    _hand_over(broker, unreadable_message(origin, name, reason), then)


def renew(broker: Broker, in_flight: InFlight, then: Callable[[], None]) -> None:
    """Publish a copy of *in_flight*, whose message is near the broker's limit; call *then* when the broker has it."""
    _hand_over(broker, renewed_message(in_flight.delivery, in_flight.messages.origin), then)


def _hand_over(broker: Broker, message: Message, then: Callable[[], None]) -> None:
    def settled(settlement: Settlement) -> None:
        if settlement is Settlement.CONFIRMED:
            then()
            return
        facts = {"exchange": message.exchange, "id": message.id, "reason": settlement.value, "pause": str(_REFUSED)}
        log.error("broker did not accept a message, will publish it again", extra=facts)
        broker.later(_REFUSED, partial(_hand_over, broker, message, then))

    broker.publish(message, settled)
