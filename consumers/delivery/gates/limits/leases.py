"""The leases of places: renewed while this consumer lives, given up with an outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from sqlalchemy.engine import Connection

from router.broker.interface import Broker

from ....deliveries import LEFT, Waiting
from ....errors import StoreError
from ....processes import cleanup
from ....store.database import Store
from ....store.limits import taken_places
from ...states import Ended

log = logging.getLogger(__name__)


class Served(Protocol):
    """The subscriptions that are served here."""

    @property
    def takes_places(self) -> bool:
        """Whether any of them has limits over all consumers."""

    @property
    def may_stop(self) -> bool:
        """Whether any of them stops when failures rise."""


class Leases:
    """Renews the places of this consumer regularly; those of a consumer that was killed become free."""

    def __init__(self, broker: Broker, store: Store, clock: Callable[[], datetime], served: Served) -> None:
        """Renew them in *store* while any subscription that is *served* takes places."""
        self._broker, self._store, self._clock, self._served = broker, store, clock, served
        self._owner = cleanup.owner()

    def renew_regularly(self) -> None:
        """Renew the places from now on; to be called in the broker's thread."""
        self._broker.later(taken_places.RENEWAL, self._renew)

    def _renew(self) -> None:
        if self._served.takes_places:
            try:
                with self._store.writing() as transaction:
                    taken_places.renew(transaction, self._owner, self._clock())
            except StoreError as error:
                log.warning("cannot renew the places of deliveries", extra={"reason": str(error)})
        self.renew_regularly()


def give_up(transaction: Connection, ended: Iterable[Ended], now: datetime) -> None:
    """Free the places of *ended*; those whose handler asks to be called again, as for a job, keep them."""
    kept, left, divided = [], [], []
    for each in ended:
        key, outcome = each.delivery.key, each.outcome
        if isinstance(outcome, Waiting) and outcome.result:
            kept.append((key, each.ended + outcome.delay))
            if LEFT in outcome.result:
                divided.append(key)
        else:
            left.append(key)
    taken_places.leave_nodes(transaction, divided, now)
    taken_places.keep(transaction, kept)
    taken_places.leave(transaction, left, now)
