"""The program `clusterbus consume`: serves subscriptions, and reloads them when they change."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from watchfiles import watch

from router.broker.interface import Broker
from router.broker.running import run_until_stopped
from router.broker.topology import Topology
from router.errors import SettingsError
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from ..config import python_files, subscription_files
from ..dead_letters.keeper import Keeper
from ..delivery.active_subscription import serve
from ..delivery.engine import Engine
from ..errors import StoreError, SubscriptionsError
from ..expressions.facts_cache import FactsCache
from ..store.database import Store
from ..store.retention.schedule import Retention
from ..subscriptions import validation
from ..subscriptions.models import Subscriptions

log = logging.getLogger(__name__)


def consume(broker: Broker, settings: Settings, paths: Sequence[Path], foundation: Topology) -> None:
    """Serve the subscriptions in *paths* over *broker* until a signal stops it.

    Raises SubscriptionsError, StoreError and what `broker.run` raises.
    """
    subscriptions = load(paths, settings)
    with Store(settings.consumers.store) as store:
        facts_cache = FactsCache(settings)
        served = partial(serve, facts=facts_cache)
        engine = Engine(
            broker, store, subscriptions, clock=_now, settings=settings, foundation=foundation, serve=served
        )
        keeper = Keeper(broker, store, _now)

        def stop() -> None:
            keeper.stop()
            engine.stop()

        engine.start()
        keeper.start()
        Retention(store, settings.consumers, _now).start()
        reader = Reader(paths, settings, lambda found: broker.call(lambda: follow(engine, found)))
        with reader.reading(), facts_cache.kept():
            run_until_stopped(broker, stop)


def _now() -> datetime:
    return datetime.now(UTC)


def load(paths: Sequence[Path], settings: Settings) -> Subscriptions:
    """Return the subscriptions in *paths*, and log what this machine cannot do for them.

    Raises SubscriptionsError with all mistakes in the files.
    """
    report = validation.check(paths, catalogues(settings), settings)
    for each in report.faults:
        log.error("a subscription cannot act here as its file says", extra={"reason": str(each)})
    return report.valid()


def follow(engine: Engine, subscriptions: Subscriptions) -> None:
    """Let *engine* serve *subscriptions*, or keep the previous ones if that fails; log the result."""
    try:
        change = engine.reload(subscriptions)
    except (SubscriptionsError, StoreError) as error:
        log.error("cannot apply the subscriptions; keeping the previous ones", extra={"reason": str(error)})  # noqa: TRY400 - the reason is complete
        return
    facts = {
        "digest": subscriptions.digest,
        "added": [each.name for each in change.added],
        "changed": [each.name for each in change.changed],
        "removed": list(change.removed),
    }
    log.info("subscriptions reloaded" if change else "subscriptions reloaded, nothing changed", extra=facts)


class Reader:
    """Reloads subscriptions on SIGHUP and when their files change; logs invalid ones, and does not use them."""

    def __init__(self, paths: Sequence[Path], settings: Settings, found: Callable[[Subscriptions], None]) -> None:
        """Call *found* with the subscriptions in *paths*, from a separate thread, because checks may take long."""
        self._paths, self._settings, self._found = paths, settings, found
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def read(self) -> None:
        """Load and check the files now."""
        with self._lock:
            try:
                subscriptions = load(self._paths, self._settings)
            except (SettingsError, SubscriptionsError) as error:
                # The catalogue of the site is read again, too.
                facts = {"mistakes": str(error).splitlines()}
                log.error("invalid subscriptions; keeping the previous ones", extra=facts)  # noqa: TRY400 - the mistakes are complete
                return
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
        # The first Python callback creates the callbacks folder, perhaps with its file before we watch the folder.
        has_new_folder = False
        while not self._ended.is_set():
            folders = self._folders()
            for changes in self._changes(folders):
                if changes or has_new_folder:
                    self.read()
                has_new_folder = self._folders() != folders
                if has_new_folder:
                    break

    def _folders(self) -> set[Path]:
        everywhere = (*self._paths, self._settings.consumers.callbacks)
        return {each.resolve() for each in everywhere if each.is_dir()}

    def _changes(self, folders: set[Path]) -> Iterator[object]:
        """Yield the changes in *folders*, and an empty set once a second without changes, until the program ends."""
        # Watch folders, not files: editors replace the file by a new one.
        files = {path for each in self._paths if not each.is_dir() for path in (each.absolute(), each.resolve())}
        watched = folders | {each.parent for each in files}

        def is_ours(_change: object, name: str) -> bool:
            path = Path(name)
            # Kubernetes replaces the link `..data` to change all files of a folder at once.
            is_file = path in files or (path.name == "..data" and path.parent in watched)
            return is_file or (path.parent in folders and subscription_files.is_read(path, (python_files.SUFFIX,)))

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
