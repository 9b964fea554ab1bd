"""What subscriptions know of the clusters that their events are of: read from the facts' store, never waited for.

Where the mm commands are, facts that a subscription met old are asked for anew, in a thread beside: no delivery waits
for that, it gets what is known, marked stale.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from router.errors import RouterError
from router.events import Event
from router.facts import Facts, FactStore, Known, Reading, assemble, finding, unknown
from router.sections import Settings

from .filters import Filter
from .paths import FACTS
from .subscriptions import Subscription

log = logging.getLogger(__name__)

_LOOK = timedelta(seconds=5)
"""Between two looks into the store for what another has found out."""

_AGAIN = timedelta(minutes=1)
"""Between two times that the cluster is asked, at the least, where facts do not age more quickly."""

_OLD = 0.75
"""The part of the age at which facts count as stale from which on they are asked for anew, when they are met."""

_WORD = re.compile(rf"\b{FACTS}\b")


class Knows(Protocol):
    """Says what is known."""

    def of(self, cluster: str) -> Known:
        """Return what is known of the *cluster* of that word in events, at once; never raises."""

    def begin(self) -> None:
        """Begin to look: somebody is going to ask."""


def reads_facts(subscription: Subscription) -> bool:
    """Say whether *subscription* may read facts where its handler is called: in templates, or in a guard."""
    guard, verb = subscription.guard, subscription.verb
    fields = verb.model_dump(mode="json", include=set(verb.templates))
    texts = [json.dumps(fields), *(guard.only_if or () if guard else ())]
    return bool(guard and guard.only_when) or any(_WORD.search(each) for each in texts)


def asks_for_facts(subscription: Subscription) -> bool:
    """Say whether *subscription* reads facts anywhere, `where` included."""
    return reads_facts(subscription) or bool(subscription.where and Filter(subscription.where).facts)


class Knowledge:
    """What is in the facts' store, as far as it was looked at; while it is `kept`, it is kept fresh on demand."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        at: datetime | None = None,
        find: Callable[[FactStore, Settings, datetime], object] = finding.find,
    ) -> None:
        """Know nothing before `begin`; *at* a moment, what was known then.  *find* asks the cluster."""
        self._settings, self._clock, self._at, self._find = settings, clock, at, find
        self._facts: Mapping[str, Facts] = {}
        self._why = ""
        self._newest = ""
        self._wanted, self._ended = threading.Event(), threading.Event()
        self._begun = threading.Event()
        self._asked: datetime | None = None

    def begin(self) -> None:
        """Look for the first time, before anybody asks: what is asked before we have looked would not be known."""
        if not self._begun.is_set():
            self.look()
            self._begun.set()

    def of(self, cluster: str) -> Known:
        """Return what is known of *cluster*, at once; where it is getting old, have it asked for."""
        facts = self._facts.get(cluster)
        now = self._at or self._clock()
        if facts is None:
            self._wanted.set()
            others = f"facts are known of {', '.join(self._facts)}, not of cluster {cluster}" if self._facts else ""
            return unknown(self._why or others or "`clusterbus facts read` was never run")
        known = facts.at(now)
        age = known.values["age"] if known.values else None
        if facts.missing or age is None or age > _OLD * facts.limit.total_seconds():
            self._wanted.set()
        return known

    def look(self) -> None:
        """Look into the store; what is wrong with it is what is known then, and is tried again."""
        try:
            store = FactStore.if_there(self._settings.facts.store)
            if store is None:
                self._why = f"{self._settings.facts.store} is not there: `clusterbus facts read` fills it"
                return
            with store:
                self._read(store)
        except RouterError as error:
            self._failed("facts can't be read", error)

    def _read(self, store: FactStore) -> None:
        newest = store.newest()
        if newest == self._newest:
            return
        limit = self._settings.facts.age
        self._facts = {each: assemble(each, store.known(each, self._at), limit) for each in store.clusters()}
        self._newest, self._why = newest, ""

    def _failed(self, said: str, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if reason != self._why:
            log.warning(said, extra={"reason": reason})
        self._why = reason

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Look again and again, and ask where it is wanted and can be, until the block ends."""
        thread = threading.Thread(target=self._keep, name="facts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._begun.set()
            self._wanted.set()
            # A command that hangs is not waited for: its own limit ends it, or our end.
            thread.join(1)

    def _keep(self) -> None:
        # Where no subscription reads facts there is nothing to do, ever.
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
            except Exception as error:  # noqa: BLE001 - nothing that is wrong with facts may end the thread
                self._failed("facts can't be found out", error)
            # However many events met old facts: once in a while is enough.
            self._ended.wait(min(_LOOK, self._settings.facts.age).total_seconds() / 5)

    def _ask(self) -> None:
        pause = min(_AGAIN, self._settings.facts.age)
        now = self._clock()
        if (self._asked and now - self._asked < pause) or not finding.can_ask(self._settings) or not self._is_old(now):
            return
        self._asked = now
        with FactStore(self._settings.facts.store) as store:
            self._find(store, self._settings, now)
        self.look()

    def _is_old(self, now: datetime) -> bool:
        """Say whether any is old still: another may have asked meanwhile."""
        limit = self._settings.facts.age * _OLD
        return not self._facts or any(
            each.missing or each.taken_at is None or now - each.taken_at > limit for each in self._facts.values()
        )


def looked_up(
    settings: Settings, subscriptions: Iterable[Subscription], event: Event, at: datetime | None = None
) -> Known | None:
    """Return what is known of the cluster of *event*, or was *at* a moment; None where none of *subscriptions* asks."""
    if not any(asks_for_facts(each) for each in subscriptions):
        return None
    knowledge = Knowledge(settings, at=at)
    knowledge.begin()
    return knowledge.of(event.cluster)


def sample(event: Event, names: Iterable[str] = ()) -> Known:
    """Return facts as they may be where *event* happens, for trying expressions: each of its texts, and of *names*, is
    the name of a node, and of a file system with disks and filesets of all these names.
    """  # noqa: D205 - one sentence
    texts = dict.fromkeys(each for each in (event.node, *event.data.values(), *names) if isinstance(each, str) and each)
    row = {"admin_name": None, "address": "10.0.0.1", "quorum": True, "manager": True, "roles": ["quorum", "manager"]}
    disk = {"status": "ready", "availability": "up", "pool": "system", "failure_group": "1"}
    fileset = {"id": 0, "status": "Linked", "path": "/gpfs/sample", "comment": "", "inode_space": 0}
    content: dict[str, Mapping[str, Any]] = {
        "cluster": {
            "name": f"{event.cluster}.example.org",
            "id": "1",
            "nodes": [{**row, "full_name": each, "number": at} for at, each in enumerate(texts, 1)],
        },
        "states": {
            "nodes": {str(at): {"name": each, "state": "active"} for at, each in enumerate(texts, 1)},
            "needed": 1,
            "tiebreaker": False,
        },
        "managers": {"cluster": event.node, "file_systems": dict.fromkeys(texts, event.node)},
        "file_systems": {each: {"defaultMountPoint": f"/{each}", "automaticMountOption": "yes"} for each in texts},
        "node_classes": {each: [event.node] for each in texts},
        **{f"disks/{each}": {key: {**disk, "metadata": True, "data": True} for key in texts} for each in texts},
        **{
            f"filesets/{each}": {key: {**fileset, "afm_target": "", "afm_state": ""} for key in texts} for each in texts
        },
    }
    moment = event.moment
    readings = (Reading(part, each, moment, moment) for part, each in content.items())
    return assemble(event.cluster, readings, timedelta(minutes=5)).at(moment)
