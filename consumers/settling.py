"""To act on outcomes: what takes a delivery's place is published, and only when the broker has it do we go on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import assert_never

from router.broker import Arrival, Broker, Message, Settlement

from . import arrivals
from .deliveries import DeadLetter, Done, Retry, Skipped, Waiting
from .flights import Flight

log = logging.getLogger(__name__)

_REFUSED = timedelta(seconds=30)
"""Until what the broker would not take is offered again."""


def act(broker: Broker, flight: Flight, finish: Callable[[Flight], None]) -> None:
    """Do what the outcome of *flight* says, which is written by now; *finish* it when nothing can be lost any more."""
    delivery, arrival, counts = flight.delivery, flight.arrivals[0], flight.serving.counts
    facts = {"subscription": delivery.subscription, "id": delivery.event.id, "attempt": delivery.attempt}
    match flight.outcome:
        case Done():
            counts.done += 1
            finish(flight)
        case Skipped():
            counts.skipped += 1
            finish(flight)
        case Waiting(delay):
            counts.waited += 1
            _hand_over(broker, arrivals.wait_message(delivery, arrival, delay), partial(finish, flight))
        case Retry(delay, reason):
            counts.retried += 1
            log.warning("delivery failed, will retry", extra=facts | {"reason": reason, "delay": str(delay)})
            _hand_over(broker, arrivals.retry_message(delivery, arrival, delay), partial(finish, flight))
        case DeadLetter(reason):
            counts.dead += 1
            log.error("delivery dead-lettered", extra=facts | {"reason": reason})
            _hand_over(broker, arrivals.dead_message(delivery, arrival, reason), partial(finish, flight))
        case None:
            pass
        case _:
            assert_never(flight.outcome)


def park(broker: Broker, arrival: Arrival, subscription: str, reason: str, parked: Callable[[], None]) -> None:
    """Give *arrival*, which is no delivery, to the dead letters as it is; *parked* is called when they have it."""
    log.error("arrival is no event", extra={"subscription": subscription, "id": arrival.id, "reason": reason})
    _hand_over(broker, arrivals.unreadable_message(arrival, subscription, reason), parked)


def _hand_over(broker: Broker, message: Message, then: Callable[[], None]) -> None:
    def settled(settlement: Settlement) -> None:
        if settlement is Settlement.CONFIRMED:
            then()
            return
        facts = {"exchange": message.exchange, "id": message.id, "reason": settlement.value}
        log.error("delivery could not be handed over, will try again", extra=facts)
        broker.later(_REFUSED, partial(_hand_over, broker, message, then))

    broker.publish(message, settled)
