"""To act on outcomes: what takes a delivery's place is published, and only when the broker has it do we go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import assert_never

from router.broker import Arrival, Broker, Message, Settlement
from router.catalogue import Catalogues

from . import arrivals
from .deliveries import FOLDED, DeadLetter, Done, Retry, Skipped, Waiting
from .flights import Counts, Flight
from .telling import outcome_message

log = logging.getLogger(__name__)

_REFUSED = timedelta(seconds=30)
"""Until what the broker would not take is offered again."""


def act(
    broker: Broker, flight: Flight, finish: Callable[[Flight], None], catalogues: Catalogues, moment: datetime
) -> None:
    """Do what the outcome of *flight* says, which is written by now; *finish* it when nothing can be lost any more."""
    _count(flight, flight.serving.counts)
    messages = list(_messages(flight, catalogues, moment))
    left = len(messages)

    def one_has_it() -> None:
        nonlocal left
        left -= 1
        if not left:
            finish(flight)

    for message in messages:
        _hand_over(broker, message, one_has_it)
    if not messages and flight.outcome:
        finish(flight)


def _messages(flight: Flight, catalogues: Catalogues, moment: datetime) -> Iterator[Message]:
    """Yield all that takes the place of *flight*."""
    delivery, arrival, subscription = flight.delivery, flight.origin, flight.serving.subscription
    outcome, names = flight.outcome, subscription.verb.reports
    if outcome and names and not flight.is_old:
        told = outcome_message(delivery, outcome, names, catalogues, moment)
        yield from [told] if told else []
    match outcome:
        case Skipped(word, _, result) if word == FOLDED and result.get("head") == delivery.event.id:
            # The first of its fold: what comes back later tells all of them.
            wait = result.get("wait")
            delay = timedelta(seconds=wait if isinstance(wait, (int, float)) else 0)
            yield arrivals.fold_message(delivery, arrival, delay)
        case Waiting(delay):
            yield arrivals.wait_message(delivery, arrival, delay)
        case Retry(delay):
            yield arrivals.retry_message(delivery, arrival, delay)
        case DeadLetter(reason):
            yield arrivals.dead_message(delivery, arrival, reason)
            if subscription.retry.then:
                yield arrivals.other_message(delivery, arrival, subscription.retry.then, reason)
        case Done() | Skipped() | None:
            pass
        case _:
            assert_never(outcome)


def _count(flight: Flight, counts: Counts) -> None:
    delivery = flight.delivery
    facts = {"subscription": delivery.subscription, "id": delivery.event.id, "attempt": delivery.attempt}
    match flight.outcome:
        case Done():
            counts.done += 1
        case Skipped():
            counts.skipped += 1
        case Waiting():
            counts.waited += 1
        case Retry(delay, reason):
            counts.retried += 1
            log.warning("delivery failed, will retry", extra=facts | {"reason": reason, "delay": str(delay)})
        case DeadLetter(reason):
            counts.dead += 1
            log.error("delivery dead-lettered", extra=facts | {"reason": reason})
        case None:
            pass
        case _:
            assert_never(flight.outcome)


def entrust(broker: Broker, flight: Flight, delay: timedelta, then: Callable[[], None]) -> None:
    """Have the broker keep a copy of *flight*, which is under way, for *delay*; *then* is called when it has it."""
    _hand_over(broker, arrivals.wait_message(flight.delivery, flight.origin, delay), then)


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
