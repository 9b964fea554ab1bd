"""Deliveries on their way through this consumer, the messages that brought them, and the lanes that keep an order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from router.broker.interface import Arrival

from ..deliveries import Delivery, Key
from .active_subscription import ActiveSubscription, Logged
from .states import Admitted, Arrived, Ended, Planning, PutOff, Recorded, Running


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

    *lane* names the deliveries that it keeps an order with; empty where the subscription has no order.  *is_held* says
    that it waits here for one that is ahead of it.
    """

    key: Key
    subscription: ActiveSubscription
    messages: BrokerMessages
    state: Arrived | Admitted | Planning | Running | Ended | Recorded
    lane: str = ""
    is_held: bool = False

    @property
    def delivery(self) -> Delivery:
        """Return the delivery, with what is known of it by now."""
        return self.state.delivery

    @property
    def is_logged(self) -> bool:
        """Whether it is for the verb `log`."""
        return isinstance(self.subscription.way, Logged)


@dataclass(slots=True)
class _Lane:
    """The *members* of a lane that are here, in their order; all of them may go on if one of it is *put_off*."""

    members: deque[InFlight] = field(default_factory=deque)
    put_off: PutOff | None = None

    def let_on(self) -> list[InFlight]:
        """Return those that were held and may go on."""
        found = [each for each in self.members if each.is_held]
        if self.put_off is None:
            found = [each for each in found if each is self.members[0]]
        for each in found:
            each.is_held = False
        return found


class AllInFlight:
    """All deliveries in flight, by key.

    Those of ordered subscriptions are in lanes: in each, one is ahead, and the others are held behind it in their
    order.  Once it has been put off, the others go on together, until it is due: they will be put off like it.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._by_key: dict[Key, InFlight] = {}
        self._lanes: dict[tuple[str, str], _Lane] = {}

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

    def goes_on(self, in_flight: InFlight, now: datetime) -> bool:
        """Say whether *in_flight* may go on; one that has just arrived joins the end of its lane."""
        if not in_flight.lane or not isinstance(in_flight.state, Arrived):
            return True
        lane = self._lanes.setdefault(_lane_of(in_flight), _Lane())
        if in_flight not in lane.members:
            lane.members.append(in_flight)
        if lane.put_off and lane.put_off.due <= now:
            lane.put_off = None
        in_flight.is_held = lane.put_off is None and lane.members[0] is not in_flight
        return not in_flight.is_held

    def put_off(self, in_flight: InFlight, until: PutOff) -> list[InFlight]:
        """Note that *in_flight* is put off *until* then; return those behind it that go on now."""
        lane = self._lanes.get(_lane_of(in_flight))
        if lane is None or lane.put_off:
            return []
        lane.put_off = until
        return lane.let_on()

    def ahead_of(self, in_flight: InFlight) -> PutOff | None:
        """Return what is put off in the lane of *in_flight*; None if nothing is."""
        lane = self._lanes.get(_lane_of(in_flight))
        return lane.put_off if lane else None

    def hold_behind(self, members: Sequence[InFlight]) -> None:
        """Let the first of *members*, which are in the order of their lane, go on alone: it is before what is put off.

        The others are held until it is put off or gone.
        """
        lane = self._lanes[_lane_of(members[0])]
        lane.put_off = None
        lane.members = deque(dict.fromkeys([*members, *lane.members]))
        for each in members[1:]:
            each.is_held = True

    def remove(self, in_flight: InFlight) -> list[InFlight]:
        """Remove one; return the one that is ahead in its lane now, if it was held."""
        del self._by_key[in_flight.key]
        lane = self._lanes.get(_lane_of(in_flight))
        if lane is None or in_flight not in lane.members:
            return []
        lane.members.remove(in_flight)
        if not lane.members:
            del self._lanes[_lane_of(in_flight)]
        return lane.let_on()


def _lane_of(in_flight: InFlight) -> tuple[str, str]:
    return in_flight.subscription.name, in_flight.lane
