"""Events that report stops and their ends: `actionStopped`, `actionResumed`.

Each is published until the broker has it.  Several consumers may publish the same; it has the same id then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from router.broker.interface import Broker, Message, Settlement
from router.model.ids import derived_id

from ....errors import StoreError
from ....store.database import Store
from ....store.limits import stops
from ....store.limits.stops import Stop
from .leases import Served

log = logging.getLogger(__name__)

_LOOK = timedelta(seconds=5)


class StopReports:
    """Publishes what has not been reported yet; to be called in the broker's thread."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        clock: Callable[[], datetime],
        served: Served,
        message: Callable[..., Message],
    ) -> None:
        """Report the stops in *store* on *broker* while any subscription that is *served* may stop.

        *message* makes the message of an event of ours, as `OutcomeEvents.message` does.
        """
        self._broker, self._store, self._clock = broker, store, clock
        self._served, self._message = served, message
        self._publishing: set[tuple[str, str]] = set()

    def publish_regularly(self) -> None:
        """Look for stops from now on."""
        self._broker.later(_LOOK, self._look)

    def _look(self) -> None:
        found: list[Stop] = []
        # The store logs what fails.
        with suppress(StoreError):
            if self._served.may_stop:
                with self._store.reading() as transaction:
                    found = stops.unreported(transaction)
        for each in found:
            if each.reported is None:
                facts = {"eventType": each.event, "eventId": each.event_id, "reason": each.reason}
                self._publish(each, "reported", "actionStopped", each.at, facts)
            if each.resumed and each.resume_reported is None:
                facts = {"by": each.by, "reason": each.comment}
                self._publish(each, "resume_reported", "actionResumed", each.resumed, facts)
        self.publish_regularly()

    def _publish(self, stop: Stop, column: str, name: str, moment: datetime, facts: dict[str, str]) -> None:
        if (stop.id, column) in self._publishing:
            return
        self._publishing.add((stop.id, column))
        message = self._message(
            name,
            {"subscription": stop.subscription, **facts},
            cluster=stop.cluster,
            node=stop.node,
            id_=derived_id(stop.id[:10], f"{name}/{stop.id}"),
            moment=moment,
        )
        logged = {"subscription": stop.subscription, **facts}
        log.log(logging.ERROR if name == "actionStopped" else logging.INFO, _SENTENCES[name], extra=logged)
        self._broker.publish(message, partial(self._settled, stop.id, column))

    def _settled(self, stop_id: str, column: str, settlement: Settlement) -> None:
        self._publishing.discard((stop_id, column))
        if settlement is not Settlement.CONFIRMED:
            return
        # Otherwise it is published again, with the same id.
        with suppress(StoreError), self._store.writing() as transaction:
            stops.mark_reported(transaction, stop_id, column, self._clock())


_SENTENCES = {
    "actionStopped": "a subscription failed too often and is stopped until a person lets it go on",
    "actionResumed": "a subscription that was stopped goes on",
}
