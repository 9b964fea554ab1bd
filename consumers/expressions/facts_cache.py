"""A cache of cluster facts for subscriptions, read from the facts store; a delivery never waits for it.

On machines with the mm commands, a background thread refreshes old facts when a subscription reads them.  No delivery
waits for the refresh: it gets the facts that are known, marked stale.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from router.cluster.facts.assemble import assemble
from router.cluster.facts.models import Facts, unknown
from router.cluster.facts.parts import Reading
from router.cluster.facts.views import Known
from router.errors import RouterError
from router.model.events import Event
from router.model.node_words import word_of
from router.settings.models import Settings

if TYPE_CHECKING:
    from router.cluster.facts.facts_store import FactStore

log = logging.getLogger(__name__)

_LOOK = timedelta(seconds=5)
"""Time between two reads of the store, which finds facts that another process gathered."""

_AGAIN = timedelta(minutes=1)
"""Shortest time between two queries of the cluster, unless the setting `facts.age` is shorter."""

_OLD = 0.75
"""Share of the setting `facts.age` after which facts are refreshed when a subscription reads them."""


class ClusterFacts(Protocol):
    """Supplies the known facts of clusters."""

    def of(self, cluster: str) -> Known:
        """Return the known facts of *cluster*, named as in events, without waiting; never raises."""

    def begin(self) -> None:
        """Read the facts for the first time, before the first call of `of`."""


class FactsCache:
    """The contents of the facts store at the last read; inside `kept`, they are refreshed on demand."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        at: datetime | None = None,
        find: Callable[[FactStore, Settings, datetime], object] | None = None,
    ) -> None:
        """Start empty until `begin`.  With *at*, use the facts known at that time.  *find* queries the cluster."""
        self._settings, self._clock, self._at, self._find = settings, clock, at, find
        self._facts: Mapping[str, Facts] = {}
        self._why, self._is_unread = "", False
        self._newest = ""
        self._wanted, self._ended = threading.Event(), threading.Event()
        self._begun = threading.Event()
        self._asked: datetime | None = None

    def begin(self) -> None:
        """Read the store for the first time, so that the first call of `of` already finds facts."""
        if not self._begun.is_set():
            self.look()
            self._begun.set()

    def of(self, cluster: str) -> Known:
        """Return the known facts of *cluster* without waiting; request a refresh if they are getting old."""
        facts = self._facts.get(cluster)
        now = self._at or self._clock()
        if facts is None:
            self._wanted.set()
            others = f"facts are known for {', '.join(self._facts)}, not for cluster {cluster}" if self._facts else ""
            return unknown(self._why or others or "no facts were read yet: run `clusterbus facts read`")
        known = facts.at(now)
        age = known.values["age"] if known.values else None
        if facts.missing or age is None or age > _OLD * facts.limit.total_seconds():
            self._wanted.set()
        return known

    def of_all(self) -> list[Known]:
        """Return the known facts of every cluster that has any."""
        return [self.of(each) for each in self._facts]

    def look(self) -> None:
        """Read the store; if that fails, `of` returns the reason, and the next read tries again."""
        try:
            from router.cluster.facts.facts_store import FactStore  # noqa: PLC0415 - most commands ask for no facts

            store = FactStore.if_there(self._settings.facts.store)
            if store is None:
                self._why = f"{self._settings.facts.store} does not exist: run `clusterbus facts read`"
                return
            with store:
                self._read(store)
            if self._is_unread:
                log.info("facts can be read again")
                self._is_unread, self._why = False, ""
        except RouterError as error:
            self._is_unread = True
            self._failed("facts cannot be read", error)

    def _read(self, store: FactStore) -> None:
        newest = store.newest()
        if newest == self._newest:
            return
        limit = self._settings.facts.age
        self._facts = {each: assemble(each, store.known(each, self._at), limit) for each in store.clusters()}
        self._newest, self._why = newest, ""

    def _failed(self, sentence: str, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if reason != self._why:
            log.warning(sentence, extra={"reason": reason})
        self._why = reason

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Read the store regularly, and query the cluster on demand if possible, until the block ends."""
        thread = threading.Thread(target=self._keep, name="facts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._begun.set()
            self._wanted.set()
            # Do not wait for a command that hangs: its timeout ends it, or the end of this process.
            thread.join(1)

    def _keep(self) -> None:
        # Without a subscription that reads facts there is nothing to do.
        self._begun.wait()
        while not self._ended.is_set():
            wanted = self._wanted.wait(_LOOK.total_seconds())
            if self._ended.is_set():
                return
            self._wanted.clear()
            try:
                self.look()
                if wanted:
                    self._ask()
            except Exception as error:  # noqa: BLE001 - no error in facts may end the thread
                self._failed("facts cannot be gathered", error)
            # One refresh serves all events that read old facts, so pause here.
            self._ended.wait(min(_LOOK, self._settings.facts.age).total_seconds() / 5)

    def _ask(self) -> None:
        from router.cluster.facts import gather  # noqa: PLC0415 - see `look`
        from router.cluster.facts.facts_store import FactStore  # noqa: PLC0415 - idem

        pause = min(_AGAIN, self._settings.facts.age)
        now = self._clock()
        if (self._asked and now - self._asked < pause) or not gather.can_ask(self._settings) or not self._is_old(now):
            return
        self._asked = now
        with FactStore(self._settings.facts.store) as store:
            (self._find or gather.find)(store, self._settings, now)
        self.look()

    def _is_old(self, now: datetime) -> bool:
        """Return whether any facts are still old: another process may have refreshed them meanwhile."""
        limit = self._settings.facts.age * _OLD
        return not self._facts or any(
            each.missing or each.taken_at is None or now - each.taken_at > limit for each in self._facts.values()
        )


def sample(event: Event, names: Iterable[str] = ()) -> Known:
    """Return sample facts of the cluster of *event*, to try expressions on.

    Each text of *event*, also in lists, and each of *names* is the name of a node, and of a file system with disks,
    filesets and attributes of all these names.  Names with the same first label are those of one node.
    """
    listed = (each for value in event.data.values() if isinstance(value, list) for each in value)
    known = (event.node, *event.data.values(), *listed, *names)
    texts = dict.fromkeys(each for each in known if isinstance(each, str) and each)
    nodes: dict[str, list[str]] = {}
    for text in sorted(texts, key=len, reverse=True):
        nodes.setdefault(word_of(text), []).append(text)
    row = {"quorum": True, "manager": True, "roles": ["quorum", "manager"]}
    disk = {"status": "ready", "availability": "up", "pool": "system", "failure_group": "1"}
    attributes = {**dict.fromkeys(texts, "1"), "automaticMountOption": "yes"}
    fileset = {"id": 0, "status": "Linked", "path": "/gpfs/sample", "comment": "", "inode_space": 0}
    content: dict[str, Mapping[str, Any]] = {
        "cluster": {
            "name": f"{event.cluster}.example.org",
            "id": "1",
            "nodes": [
                {**row, "full_name": each[0], "admin_name": each[:2][-1], "address": f"192.0.2.{at}", "number": at}
                for at, each in enumerate(nodes.values(), 1)
            ],
        },
        "states": {
            "nodes": {str(at): {"name": each[-1], "state": "active"} for at, each in enumerate(nodes.values(), 1)},
            "needed": 1,
            "tiebreaker": False,
        },
        "managers": {"cluster": event.node, "file_systems": dict.fromkeys(texts, event.node)},
        "file_systems": {each: {**attributes, "defaultMountPoint": f"/{each}"} for each in texts},
        "node_classes": {each: [event.node] for each in texts},
        **{f"disks/{each}": {key: {**disk, "metadata": True, "data": True} for key in texts} for each in texts},
        **{
            f"filesets/{each}": {key: {**fileset, "afm_target": "", "afm_state": ""} for key in texts} for each in texts
        },
    }
    content |= _sample_of_usage(texts)
    moment = event.moment
    readings = (Reading(part, each, moment, moment) for part, each in content.items())
    return assemble(event.cluster, readings, timedelta(minutes=5)).at(moment)


def _sample_of_usage(names: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
    names = tuple(names)
    pool = {"size": 1000, "free": 500, "used": 50.0}
    numbers = {"block_usage": 1, "block_quota": 2, "block_limit": 3, "files_usage": 1, "files_quota": 2}
    quota = {**numbers, "files_limit": 3, "block_grace": "none", "files_grace": "none"}
    found = {f"pools/{each}": dict.fromkeys(names, pool) for each in names}
    return {**found, **{f"quotas/{each}": dict.fromkeys(names, quota) for each in names}}
