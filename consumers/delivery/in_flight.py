"""Deliveries on their way through this consumer, the messages that brought them, and the lanes that keep an order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from router.broker.interface import Arrival

from ..deliveries import Delivery, Key
from .active_subscription import ActiveSubscription, Logged
from .states import Admitted, Arrived, Ended, Planning, Recorded, Running


class BrokerMessages:
    """The broker's messages that brought one delivery.

    *origin* is the first: its headers travel on, and it may be settled long before the end.  *since* is when it came,
    or when the delivery was last deferred.  *arrivals* are all messages of this attempt that are not
    settled yet; they are acknowledged together.  *others* brought another attempt of the same delivery meanwhile; they
    are looked at after that.
    """

    __slots__ = ("arrivals", "origin", "others", "since")

    def __init__(self, origin: Arrival, since: datetime) -> None:
        """Begin with *origin*, which came at the moment *since*."""
        self.origin, self.since = origin, since
        self.arrivals = [origin]
        self.others: list[Arrival] = []

    def add(self, arrival: Arrival, *, is_same_attempt: bool) -> None:
        """Keep one more."""
        (self.arrivals if is_same_attempt else self.others).append(arrival)

    def take_arrivals(self) -> list[Arrival]:
        """Return those of this attempt, to be settled now, and forget them."""
        taken, self.arrivals = self.arrivals, []
        return taken


@dataclass(slots=True, eq=False)
class InFlight:
    """One delivery from its arrival until it is acknowledged; *state* is how far it has come.

    *lane* names the deliveries that it keeps an order with; empty where the subscription has no order.
    """

    key: Key
    subscription: ActiveSubscription
    messages: BrokerMessages
    state: Arrived | Admitted | Planning | Running | Ended | Recorded
    lane: str = ""

    @property
    def delivery(self) -> Delivery:
        """Return the delivery, with what is known of it by now."""
        return self.state.delivery

    @property
    def is_logged(self) -> bool:
        """Whether it is for the verb `log`."""
        return isinstance(self.subscription.way, Logged)


class AllInFlight:
    """All deliveries in flight, by key.

    Those of ordered subscriptions are in lanes: in each, one is ahead, and the others wait behind it in their order.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._by_key: dict[Key, InFlight] = {}
        self._lanes: dict[tuple[str, str], deque[InFlight]] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_key)

    def __iter__(self) -> Iterator[InFlight]:
        """Yield those that there are now; they may be removed meanwhile."""
        return iter([*self._by_key.values()])

    def __contains__(self, in_flight: InFlight) -> bool:
        """Say whether it is this very *in_flight* that is here, and not a later one of the same key."""
        return self._by_key.get(in_flight.key) is in_flight

    def get(self, key: Key) -> InFlight | None:
        """Return the one of this *key*, or None."""
        return self._by_key.get(key)

    def of(self, subscription: ActiveSubscription) -> Iterator[InFlight]:
        """Yield those of *subscription*."""
        return (each for each in self._by_key.values() if each.subscription is subscription)

    def add(self, in_flight: InFlight) -> None:
        """Add one."""
        self._by_key[in_flight.key] = in_flight

    def is_ahead(self, in_flight: InFlight) -> bool:
        """Say whether *in_flight* may go on; one that has just arrived joins the end of its lane."""
        if not in_flight.lane or not isinstance(in_flight.state, Arrived):
            return True
        lane = self._lanes.setdefault((in_flight.subscription.name, in_flight.lane), deque())
        if in_flight not in lane:
            lane.append(in_flight)
        return lane[0] is in_flight

    def remove(self, in_flight: InFlight) -> InFlight | None:
        """Remove one; return the one that is ahead in its lane now and was not before, or None."""
        del self._by_key[in_flight.key]
        key = (in_flight.subscription.name, in_flight.lane)
        lane = self._lanes.get(key)
        if lane is None or in_flight not in lane:
            return None
        was_ahead = lane[0] is in_flight
        lane.remove(in_flight)
        if not lane:
            del self._lanes[key]
            return None
        return lane[0] if was_ahead else None
