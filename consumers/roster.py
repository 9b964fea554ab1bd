"""The subscriptions that are served, each by its serving, and what they need of the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Event as Flag

from router.broker import topology
from router.broker.topology import Topology
from router.sections import Settings

from .errors import Mistake, SubscriptionsError
from .reloading import Change, compare
from .servings import Serving
from .store import Store, bindings
from .subscriptions import Subscription, Subscriptions
from .verbs import Surroundings

Serve = Callable[[Subscription, Surroundings], Serving]


class Roster:
    """What is served now; one reading of the subscriptions follows another."""

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
        """Serve *subscriptions* by what *serve* makes of each; bindings are remembered in *store*.

        Raises SubscriptionsError where one of them cannot be served on this machine.
        """
        self._subscriptions, self._store = subscriptions, store
        self._foundation = foundation or topology.base()
        self._settings, self._stopping, self._serve = settings or Settings(), stopping, serve
        self._servings = self._made(subscriptions.subscriptions, subscriptions.digest)

    def __iter__(self) -> Iterator[Serving]:
        """Yield the servings."""
        return iter(self._servings.values())

    def _made(self, subscriptions: Iterable[Subscription], digest: str) -> dict[str, Serving]:
        made = {}
        for each in subscriptions:
            if each.mode != "off":
                around = Surroundings(each.name, self._stopping, self._settings, each.file, each.line)
                made[each.name] = self._serve(each, around)
                made[each.name].digest = digest
        return made

    def topology(self, subscriptions: Subscriptions | None = None) -> Topology:
        """Return what the broker has to have for *subscriptions*, by default for those that are served.

        Raises StoreError.
        """
        wanted = self._foundation
        with self._store.writing() as transaction:
            for each in (subscriptions or self._subscriptions).subscriptions:
                wanted += topology.subscription(each.name, each.patterns, ordered=bool(each.order_by))
                stale = bindings.remember(transaction, each.name, each.patterns)
                queue = topology.queue_of(each.name)
                gone = (topology.Binding(topology.EVENTS, queue, pattern) for pattern in sorted(stale))
                wanted += topology.Topology(stale=tuple(gone))
        return wanted

    def follow(self, subscriptions: Subscriptions) -> tuple[Change, Topology, list[Serving], list[Serving]]:
        """Serve *subscriptions* from now on; return what differs, what the broker has to have, who leaves, who comes.

        Raises SubscriptionsError and StoreError, and then nothing has changed.
        """
        change = compare(self._subscriptions, subscriptions)
        if wrong := list(_unchangeable(self._subscriptions, change)):
            raise SubscriptionsError(wrong)
        touched = (*change.added, *change.changed)
        made = self._made(touched, subscriptions.digest)
        try:
            wanted = self.topology(subscriptions)
        except BaseException:
            for serving in made.values():
                serving.close()
            raise
        gone = {*change.removed, *(each.name for each in touched)}
        leaving = [each for each in self if each.name in gone]
        kept = {each.name: each for each in self if each.name not in gone}
        for serving in kept.values():
            serving.digest = subscriptions.digest
        self._subscriptions, self._servings = subscriptions, kept | made
        return change, wanted, leaving, list(made.values())


def _unchangeable(before: Subscriptions, change: Change) -> Iterator[Mistake]:
    """Yield what a queue that is there can't become: an ordered one has one active consumer, from its beginning."""
    for each in change.changed:
        if bool(each.order_by) != bool(before.by_name[each.name].order_by):
            said = "can't be set or taken away while the queue is there: give the subscription another name"
            yield Mistake(each.file, each.line, each.name, "order_by", said)
