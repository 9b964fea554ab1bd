"""Sends open alerts again to Alertmanager, and takes over what people did in other systems.

Every consumer that serves the subscription does this, and twice is harmless.  What is sent is the present state by the
store, which all consumers share.  A call may be late, and bring what has changed meanwhile: so the store is read again
after each round, and what has changed is sent again at once.  An act that two consumers take over is one change.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from router.model.catalogue import Catalogues

from ..deliveries import Delivery
from ..delivery.active_subscription import ActiveSubscription
from ..delivery.registry import Serve
from ..delivery.thread_pool import ThreadPool
from ..errors import AlertIsClosed, AlertNotFound, Rejected, StoreError
from ..store.alerts import alerts
from ..store.alerts.published_changes import Published
from ..store.alerts.receiver_health import Purpose
from ..store.database import Store
from ..subscriptions.models import Subscription, Subscriptions
from ..verbs.alert.alert_handler import AlertHandler
from ..verbs.alert.alertmanager_handler import AlertmanagerHandler, OpenAlert
from ..verbs.alert.remote_states import Act, RemoteState, State, act_of
from ..verbs.interface import Surroundings
from .health_recorder import HealthRecorder
from .selection import kept

log = logging.getLogger(__name__)

_LOOK = 0.5
"""Seconds between two looks at what is due."""

_ROUNDS = 3
"""Rounds in which what has changed meanwhile is sent again, at most; the rest is sent the next time."""

_AT_ONCE = 4
"""Subscriptions that are worked on at once: an address that does not answer holds up no other."""

_AFTER_FAILURE = 4
"""After a failure, the next round comes so many times sooner."""


_AGAIN = 5.0
"""Seconds until what could not be written is tried again."""


class _Round(NamedTuple):
    """What is done regularly, and what is logged when it fails, and when it works again."""

    purpose: Purpose
    failed: str
    works: str


_SENDING = _Round("send", "open alerts cannot be sent again; trying again soon", "open alerts are sent again")
_FOLLOWING = _Round(
    "follow",
    "another system cannot be asked what people did to alerts; trying again",
    "another system answers about alerts again",
)

_NOTHING_OPEN = "clusterbus-nothing-is-open"
"""What is asked about where no alert is open: a call has to show whether the system would answer."""


@dataclass(eq=False, slots=True)
class _Kept:
    """A subscription that keeps alerts in another system: when it is due next, and what the system said last."""

    subscription: ActiveSubscription
    handler: AlertHandler
    again: float = 0.0
    follow: float = 0.0
    is_running: bool = False
    problems: dict[Purpose, str] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)

    @property
    def places(self) -> set[tuple[Purpose, str]]:
        """What it does regularly, and at which addresses."""
        sends: set[tuple[Purpose, str]] = {("send", each) for each in self.handler.sent_again_to}
        return sends | ({("follow", self.handler.followed)} if self.handler.follow else set())


class AlertReceivers:
    """The systems in which the subscriptions of this consumer keep alerts."""

    def __init__(
        self,
        store: Store,
        catalogues: Callable[[], Catalogues],
        clock: Callable[[], datetime],
        passed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read alerts from *store*; what people did elsewhere becomes events of what *catalogues* returns.

        *clock* is for times that are kept, *passed* counts the seconds between rounds.
        """
        self._store, self._catalogues, self._clock, self._passed = store, catalogues, clock, passed
        self._health = HealthRecorder(store, clock, passed)
        self._kept: list[_Kept] = []
        self._lock = threading.Lock()
        self._names: frozenset[str] = frozenset()
        self._unsettled: frozenset[str] = frozenset()
        self._settle_at = 0.0
        self._stopping = threading.Event()
        self._pool = ThreadPool(_AT_ONCE, "alert-receivers")

    def noticing(self, serve: Serve) -> Serve:
        """Return *serve*, which also notes the subscriptions that keep alerts in other systems."""

        def noting(definition: Subscription, surroundings: Surroundings) -> ActiveSubscription:
            active = serve(definition, surroundings)
            handler = active.way.handler
            if isinstance(handler, AlertHandler) and definition.mode == "live":
                self._kept = [
                    *(each for each in self._kept if not each.subscription.is_leaving),
                    _Kept(active, handler),
                ]
            return active

        return noting

    def follow(self, subscriptions: Subscriptions) -> None:
        """Have the store forget what *subscriptions*, or those before them, no longer do."""
        names = frozenset(each.name for each in subscriptions.subscriptions)
        with self._lock:
            self._names, self._unsettled = names, self._unsettled | names | self._names

    @contextmanager
    def working(self) -> Iterator[None]:
        """Do what is due, in threads of its own, until the block ends or `stop` is called."""
        threading.Thread(target=self._work, name="alert-receivers", daemon=True).start()
        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    def work(self) -> None:
        """Do all that is due now, one after another."""
        self._settle()
        for each in self._due():
            self._serve(each)

    def _work(self) -> None:
        while not self._stopping.wait(_LOOK):
            if self._unsettled and self._settle_at <= self._passed():
                self._pool.submit(self._settle)
            for each in self._due():
                self._pool.submit(partial(self._serve, each))
        self._pool.close()

    def _settle(self) -> None:
        with self._lock:
            names, self._unsettled = self._unsettled, frozenset()
        wanted = {name: set[tuple[Purpose, str]]() for name in names}
        for each in self._kept:
            if each.subscription.name in wanted and not each.subscription.is_leaving:
                wanted[each.subscription.name] |= each.places
        if wanted and not self._health.keep_only(wanted):
            self._settle_at = self._passed() + _AGAIN
            with self._lock:
                self._unsettled |= names

    def _due(self) -> Iterable[_Kept]:
        now = self._passed()
        for each in self._kept:
            is_due = (each.handler.every and each.again <= now) or (each.handler.follow and each.follow <= now)
            if is_due and not each.is_running and not each.subscription.is_leaving:
                each.is_running = True
                yield each

    def _serve(self, each: _Kept) -> None:
        now, handler = self._passed(), each.handler
        try:
            if isinstance(handler, AlertmanagerHandler) and each.again <= now:
                is_fine = self._round(each, _SENDING, handler.every, partial(self._send, each.subscription, handler))
                each.again = now + handler.every.total_seconds() / (1 if is_fine else _AFTER_FAILURE)
            if handler.follow and each.follow <= now:
                each.follow = now + handler.follow.total_seconds()
                self._round(each, _FOLLOWING, handler.follow, partial(self._follow, each))
        finally:
            each.is_running = False

    def _round(self, each: _Kept, what: _Round, every: timedelta, work: Callable[[], Mapping[str, str]]) -> bool:
        """Do *work*, which returns the problem at each address; note and log it, and return whether there was none."""
        found: Mapping[str, str] = {}
        try:
            found = work()
            problem = "; ".join(filter(None, found.values()))
        except StoreError as error:
            problem = str(error)
        except Exception as error:  # the thread has to serve the others
            problem = f"{type(error).__name__}: {error}"
            found = {address: problem for purpose, address in each.places if purpose == what.purpose}
            if not self._is_over(each):
                facts = {"subscription": each.subscription.name}
                log.exception("alerts cannot be compared with another system", extra=facts)
        # A call that a stop interrupted says nothing about the system.
        if not self._is_over(each):
            self._report(each, what, problem)
            self._health.record(each.subscription.name, what.purpose, every, found)
        return not problem

    def _is_over(self, each: _Kept) -> bool:
        return self._stopping.is_set() or each.subscription.is_leaving

    def _send(self, subscription: ActiveSubscription, handler: AlertmanagerHandler) -> Mapping[str, str]:
        """Send what is open, and what was closed lately; return what went wrong, by address.  Raises StoreError."""
        sent: dict[str, str] = {}
        problems = dict.fromkeys(handler.sent_again_to, "")
        for number in range(_ROUNDS):
            with self._store.reading() as transaction:
                found = [*kept(transaction, subscription, self._clock())]
            changed = [each for each in found if sent.get(each.alert) != each.last.id]
            if (number and not changed) or self._stopping.is_set():
                break
            now = handler.send_again([_open(subscription, each) for each in changed])
            problems = {address: problem or now[address] for address, problem in problems.items()}
            sent |= {each.alert: each.last.id for each in changed}
        return problems

    def _follow(self, each: _Kept) -> Mapping[str, str]:
        """Take over what people did there; return what went wrong, by address.  Raises StoreError."""
        system, address = each.handler.system, each.handler.followed
        with self._store.reading() as transaction:
            rows = kept(transaction, each.subscription, self._clock(), is_closed_kept=False)
            here = {row.alert: row for row in rows}
        try:
            for remote in each.handler.states([*here] or [_NOTHING_OPEN]):
                if not (row := here.get(remote.alert)):
                    continue
                act = act_of(remote, each.states.get(remote.alert), state=row.state, by=row.by, system=system)
                if act:
                    self._act(act, remote, system)
                each.states[remote.alert] = remote.state
        except (OSError, ValueError, Rejected) as error:
            return {address: f"{system} cannot be asked: {error}"}
        each.states = {alert: state for alert, state in each.states.items() if alert in here}
        return {address: ""}

    def _act(self, act: Act, remote: RemoteState, system: str) -> None:
        how: dict[str, Any] = {"by": remote.author(system), "at": self._clock(), "catalogues": self._catalogues()}
        with suppress(AlertIsClosed, AlertNotFound), self._store.writing() as transaction:
            alerts.act(transaction, remote.alert, act, comment=remote.comment, cause="remote", **how)

    def _report(self, each: _Kept, what: _Round, problem: str) -> None:
        before = each.problems.get(what.purpose, "")
        facts = {"subscription": each.subscription.name, "reason": problem or before}
        if problem and not before:
            log.warning(what.failed, extra=facts)
        elif before and not problem:
            log.info(what.works, extra=facts)
        each.problems[what.purpose] = problem


def _open(subscription: ActiveSubscription, found: Published) -> OpenAlert:
    event = found.last
    delivery = Delivery(event, subscription.name, event.topic, event.to_json())
    return OpenAlert(found.first, subscription.enriched(delivery))
