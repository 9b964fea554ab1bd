"""The subscriptions that this consumer serves, and the topology that they need on the broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Event as Flag

from router.broker import topology
from router.broker.topology import Topology
from router.model.events import Event
from router.settings.models import Settings

from ..config.python_files import error_text
from ..errors import Mistake, SubscriptionsError
from ..store import bindings
from ..store.alerts import published_changes
from ..store.database import Store
from ..subscriptions.actions.action_use import unguarded
from ..subscriptions.diff import Change, compare
from ..subscriptions.models import Subscription, Subscriptions
from ..verbs.interface import Surroundings
from .active_subscription import ActiveSubscription

log = logging.getLogger(__name__)

_NOT_SERVED = "a subscription is not served, and its queue keeps its events: correct it, then reload"

Serve = Callable[[Subscription, Surroundings], ActiveSubscription]


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a reload has changed; *wanted* is the topology that the broker has to have from now on."""

    change: Change
    wanted: Topology
    leaving: list[ActiveSubscription]
    coming: list[ActiveSubscription]


class Registry:
    """The subscriptions that are served now; a reload replaces them."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        store: Store,
        *,
        foundation: Topology | None,
        settings: Settings | None,
        stopping: Flag,
        serve: Serve,
    ) -> None:
        """Serve *subscriptions*, each as *serve* says; remember their bindings in *store*.

        One that this machine cannot serve is logged and left out: its queue keeps its events.
        """
        self._subscriptions, self._store = subscriptions, store
        self._foundation = foundation or topology.base()
        self._settings, self._stopping, self._serve = settings or Settings(), stopping, serve
        self.unserved: dict[str, str] = {}
        """The subscriptions that this machine cannot serve, and why."""

        self._active = self._activate(subscriptions.subscriptions, subscriptions.digest)

    def __iter__(self) -> Iterator[ActiveSubscription]:
        """Yield the subscriptions that are served."""
        return iter(self._active.values())

    @property
    def takes_places(self) -> bool:
        """Whether any of them has limits over all consumers."""
        return any(each.takes_places for each in self)

    @property
    def may_stop(self) -> bool:
        """Whether any of them stops when failures rise."""
        return any(each.definition.guard and each.definition.guard.stop_after for each in self)

    def _activate(self, subscriptions: Iterable[Subscription], digest: str) -> dict[str, ActiveSubscription]:
        active = {}
        for each in subscriptions:
            self.unserved.pop(each.name, None)
            if each.mode != "off":
                action = partial(unguarded, self._settings)
                own = (each.name, self._stopping, self._settings, each.file, each.line)
                surroundings = Surroundings(*own, action, self._changes)
                try:
                    active[each.name] = self._serve(each, surroundings)
                except Exception as error:  # noqa: BLE001 - verbs of others may raise anything, and the rest is served
                    reason = str(error) if isinstance(error, SubscriptionsError) else error_text(error)
                    self.unserved[each.name] = reason
                    log.error(_NOT_SERVED, extra={"subscription": each.name, "reason": reason})  # noqa: TRY400 - the reason is complete
                else:
                    active[each.name].digest = digest
        return active

    def _changes(self, alert: str) -> tuple[Event, Event] | None:
        with self._store.reading() as transaction:
            return published_changes.of_alert(transaction, alert)

    def topology(self, subscriptions: Subscriptions | None = None) -> Topology:
        """Return the topology that *subscriptions* need, by default those that are served.

        Raises StoreError.
        """
        wanted = self._foundation
        with self._store.writing() as transaction:
            for each in (subscriptions or self._subscriptions).subscriptions:
                wanted += topology.subscription(each.name, each.patterns, ordered=bool(each.order_by))
                stale = bindings.remember(transaction, each.name, each.patterns)
                queue = topology.queue_of(each.name)
                gone = (topology.event_binding(queue, pattern) for pattern in sorted(stale))
                wanted += topology.Topology(stale=tuple(gone))
        return wanted

    def replace(self, subscriptions: Subscriptions, *, all_anew: bool = False) -> Replaced:
        """Serve *subscriptions* from now on; return what that changes.

        What has not changed goes on, unless *all_anew* because the catalogue has, which handlers read.

        Raises SubscriptionsError and StoreError, and then nothing has changed.
        """
        change = compare(self._subscriptions, subscriptions)
        if wrong := list(_unchangeable(self._subscriptions, change)):
            raise SubscriptionsError(wrong)
        new = {each.name for each in (*change.added, *change.changed)}
        # What could not be served may be served now: perhaps this machine has changed, not the subscription.
        served = () if all_anew else self._active
        touched = [each for each in subscriptions.subscriptions if each.name in new or each.name not in served]
        coming = self._activate(touched, subscriptions.digest)
        try:
            wanted = self.topology(subscriptions)
        except BaseException:
            for each in coming.values():
                each.close()
            raise
        gone = {*change.removed, *(each.name for each in touched)}
        self.unserved = {name: why for name, why in self.unserved.items() if name not in change.removed}
        leaving = [each for each in self if each.name in gone]
        kept = {each.name: each for each in self if each.name not in gone}
        for each in coming.values():
            if before := self._active.get(each.name):
                each.counts = before.counts  # also what is still under way counts there
        for each in kept.values():
            each.digest = subscriptions.digest
        self._subscriptions, self._active = subscriptions, kept | coming
        return Replaced(change, wanted, leaving, list(coming.values()))


def _unchangeable(before: Subscriptions, change: Change) -> Iterator[Mistake]:
    """Yield the changes that an existing queue cannot follow: an ordered one has one active consumer from the start."""
    for each in change.changed:
        if bool(each.order_by) != bool(before.by_name[each.name].order_by):
            message = "cannot be added or removed while the queue of the subscription exists: rename the subscription"
            yield Mistake(each.file, each.line, each.name, "order_by", message)
