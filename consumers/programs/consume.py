"""The program `clusterbus consume`: serves subscriptions, and reloads them when they change."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from watchfiles import watch

from router.broker.client import Rabbit
from router.broker.topology import Topology
from router.errors import SettingsError, did_you_mean
from router.programs.health import Activity, Health
from router.programs.regular_look import attempted
from router.programs.running import run_until_stopped
from router.programs.systemd_notify import Notifier
from router.settings import bounded_files
from router.settings.models import ConsumersSettings, Settings
from router.settings.site_catalogue import catalogues

from ..alert_engine.alert_engine import AlertEngine
from ..alert_receivers.receivers import AlertReceivers
from ..config import python_files
from ..dead_letters.keeper import Keeper
from ..deliveries import Key
from ..delivery.active_subscription import serve
from ..delivery.engine import Engine
from ..delivery.metrics.latencies import Latencies
from ..errors import Mistake, StoreError, SubscriptionsError
from ..expressions.facts_cache import FactsCache
from ..processes import lost_jobs
from ..processes.job_files import Jobs
from ..store import attempts
from ..store.database import Store
from ..store.retention.schedule import Retention
from ..subscriptions import validation
from ..subscriptions.models import Subscriptions
from .alert_keeping import AlertKeeping
from .draining import Drain, Draining
from .due_timers import DueTimers, timing
from .job_progress import JobProgress, reporting

log = logging.getLogger(__name__)

_AFTER_FAILURE = 1.0
"""Seconds until files are watched again after that failed."""


def consume(
    broker: Rabbit,
    settings: Settings,
    paths: Sequence[Path],
    foundation: Topology,
    *,
    only: Sequence[str] = (),
    draining: Draining | None = None,
) -> Drain | None:
    """Serve the subscriptions in *paths*, or *only* some, over *broker* until a signal stops it, or *draining* is done.

    Return how draining went.  Raises SubscriptionsError, StoreError and what `broker.run` raises.
    """
    subscriptions = load(paths, settings, only)
    with Store(settings.consumers.store) as store:
        facts_cache = FactsCache(settings)
        latencies = Latencies() if settings.consumers.metrics else None
        receivers = AlertReceivers(store, lambda: alerts.engine.catalogues, _now)
        how: dict[str, Any] = {"serve": receivers.noticing(partial(serve, facts=facts_cache)), "latencies": latencies}
        engine = Engine(broker, store, subscriptions, clock=_now, settings=settings, foundation=foundation, **how)
        keeper, timers = Keeper(broker, store, _now), DueTimers(broker, store, settings, subscriptions, _now)
        receivers.follow(subscriptions)
        progress = JobProgress(broker, settings, _now)
        alerts = AlertKeeping(broker, store, settings, subscriptions, facts_cache, _now)
        stop = partial(_in_turn, alerts.stop, receivers.stop, keeper.stop, engine.stop)
        health = Health(broker, lambda: _activity(engine, reader), Notifier(os.environ))
        apply = partial(follow, engine, alerts, [timers.follow, receivers.follow, lambda _: progress.follow()])
        reader = Reader(paths, settings, lambda found: broker.call(partial(apply, found)), health, only)
        drain = Drain(draining, broker, engine, store, stop=stop, clock=_now) if draining else None
        with (
            _answering(settings.consumers, broker, store, engine, keeper, alerts.engine, latencies, health),
            reader.reading(),
            facts_cache.kept(),
            lost_jobs.adopting(Jobs(settings.consumers.jobs), partial(taken_over, store)),
            reporting(progress, settings.consumers.job_progress),
            timing(timers),
            receivers.working(),
        ):
            _in_turn(engine.start, keeper.start, alerts.start, Retention(store, settings.consumers, _now).start)
            if drain:
                drain.begin()
            run_until_stopped(broker, stop, health=health)
        return drain


def _in_turn(*calls: Callable[[], object]) -> None:
    for each in calls:
        each()


def taken_over(store: Store, about: Mapping[str, Any]) -> str:
    """Return the other machine that has begun the attempt of the job *about* anew, by *store*; empty if none has.

    Raises StoreError.
    """
    key = Key(about["event"], about["subscription"], about.get("replay", ""))
    with store.reading() as transaction:
        begun = attempts.look_up(transaction, [key]).get(key, {}).get(about["attempt"])
    host = str(begun.result.get("host") or "") if begun else ""
    return "" if host == os.uname().nodename else host


def _answering(  # noqa: PLR0913, PLR0917 - each is one collaborator
    settings: ConsumersSettings,
    broker: Rabbit,
    store: Store,
    engine: Engine,
    keeper: Keeper,
    alerts: AlertEngine,
    latencies: Latencies | None,
    health: Health,
) -> AbstractContextManager[None]:
    if latencies is None:
        return nullcontext()
    # Importing prometheus-client takes as long as a quick command.
    from .consumer_metrics import monitoring  # noqa: PLC0415

    found = monitoring(
        settings,
        broker,
        store,
        engine=engine,
        keeper=keeper,
        alerts=alerts,
        latencies=latencies,
        clock=_now,
        problem=lambda: health.state.problem,
    )
    return found.answering()


def _activity(engine: Engine, reader: Reader) -> Activity:
    found = engine.activity
    return replace(found, problem="; ".join(filter(None, (found.problem, reader.problem))))


def _now() -> datetime:
    return datetime.now(UTC)


def load(paths: Sequence[Path], settings: Settings, only: Sequence[str] = ()) -> Subscriptions:
    """Return the subscriptions in *paths*, or *only* some, and log what this machine cannot do for them.

    Raises SubscriptionsError with all mistakes in the files, and for a name that they do not have.
    """
    report = validation.check(paths, catalogues(settings), settings)
    for each in report.faults:
        log.error("a subscription cannot act here as its file says", extra={"reason": str(each)})
    found = report.valid()
    if not only:
        return found
    for name in only:
        if name not in found.by_name:
            wrong = f"there is no subscription of this name{did_you_mean(name, found.by_name)}"
            raise SubscriptionsError([Mistake("--only", 0, name, "", wrong)])
    chosen = tuple(each for each in found.subscriptions if each.name in only)
    return Subscriptions(subscriptions=chosen, rules=found.rules)


def follow(
    engine: Engine,
    alerts: AlertKeeping,
    others: Sequence[Callable[[Subscriptions], object]],
    subscriptions: Subscriptions,
) -> None:
    """Let *engine* serve *subscriptions*, or keep the previous ones if that fails; log the result.

    *alerts* follow their rules; *others* are called with what is served then.
    """
    alerts.follow(subscriptions)
    try:
        change = engine.reload(subscriptions)
    except (SubscriptionsError, StoreError) as error:
        log.error("cannot apply the subscriptions; keeping the previous ones", extra={"reason": str(error)})  # noqa: TRY400 - the reason is complete
        return
    for each in others:
        each(subscriptions)
    facts = {
        "digest": subscriptions.digest,
        "added": [each.name for each in change.added],
        "changed": [each.name for each in change.changed],
        "removed": list(change.removed),
    }
    log.info("subscriptions reloaded" if change else "subscriptions reloaded, nothing changed", extra=facts)


class Reader:
    """Reloads subscriptions on SIGHUP and when their files change; logs invalid ones, and does not use them."""

    def __init__(
        self,
        paths: Sequence[Path],
        settings: Settings,
        found: Callable[[Subscriptions], None],
        health: Health,
        only: Sequence[str] = (),
    ) -> None:
        """Call *found* with (*only* these) subscriptions in *paths*, from a thread, because checks may take long.

        *health* learns when that begins and ends.
        """
        self._paths, self._settings, self._found, self._health, self._only = paths, settings, found, health, only
        self.problem = ""
        """Why the files that are there now are not used; empty if they are."""

        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._has_new_folder = False

    def read(self) -> None:
        """Load and check the files now."""
        with self._lock, self._health.reloading():
            try:
                subscriptions = load(self._paths, self._settings, self._only)
            except (SettingsError, SubscriptionsError) as error:
                # The catalogue of the site is read again, too.
                self.problem = f"the subscription files are invalid: {str(error).partition(chr(10))[0]}"
                facts = {"mistakes": str(error).splitlines()}
                log.error("invalid subscriptions; keeping the previous ones", extra=facts)  # noqa: TRY400 - the mistakes are complete
                return
            self.problem = ""
            self._found(subscriptions)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Reload on SIGHUP and on changes, until the block ends."""
        before = signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=self.read, daemon=True).start())
        watcher = threading.Thread(target=self._watch, name="subscriptions", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)
            self._ended.set()
            watcher.join(5)

    def _watch(self) -> None:
        while not self._ended.is_set():
            if not attempted("changes of subscription files", self._follow_folders):
                self._ended.wait(_AFTER_FAILURE)

    def _follow_folders(self) -> None:
        """Read the files at each change, until there are other folders or the program ends."""
        folders = self._folders()
        for changes in self._changes(folders):
            if changes or self._has_new_folder:
                self.read()
            # The first Python callback creates the callbacks folder, perhaps with its file before we watch the folder.
            self._has_new_folder = self._folders() != folders
            if self._has_new_folder:
                break

    def _folders(self) -> set[Path]:
        wanted = self._settings.consumers
        everywhere = (*self._paths, wanted.callbacks, *wanted.actions)
        return {each.resolve() for each in everywhere if each.is_dir()}

    def _changes(self, folders: set[Path]) -> Iterator[object]:
        """Yield the changes in *folders*, and an empty set once a second without changes, until the program ends."""
        # Watch folders, not files: editors replace the file by a new one.
        named = [*self._paths, *(each for each in self._settings.consumers.actions if each.is_file())]
        files = {path for each in named if not each.is_dir() for path in (each.absolute(), each.resolve())}
        watched = folders | {each.parent for each in files}

        def is_ours(_change: object, name: str) -> bool:
            path = Path(name)
            # Kubernetes replaces the link `..data` to change all files of a folder at once.
            is_file = path in files or (path.name == "..data" and path.parent in watched)
            return is_file or (path.parent in folders and bounded_files.is_read(path, (python_files.SUFFIX,)))

        return watch(
            *watched,
            watch_filter=is_ours,
            stop_event=self._ended,
            recursive=False,
            raise_interrupt=False,
            # How often it wakes to check for the end. The default of 50 ms wakes an idle program 20 times a second.
            step=250,
            rust_timeout=1000,
            yield_on_timeout=True,
        )
