"""The program `clusterbus consume`: serves subscriptions, and reads them anew when they change."""

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

from router.broker import Broker
from router.broker.topology import Topology
from router.catalogue import Catalogues
from router.command import run_until_stopped
from router.sections import Settings

from . import check
from .engine import Engine
from .errors import StoreError, SubscriptionsError
from .knowledge import Knowledge
from .letters import Keeper
from .servings import serve
from .store import Store
from .subscriptions import Subscriptions

log = logging.getLogger(__name__)

_SUFFIXES = (".yaml", ".py")


def consume(broker: Broker, settings: Settings, paths: Sequence[Path], foundation: Topology) -> None:
    """Serve the subscriptions in *paths* over *broker* until a signal ends it.

    Raises SubscriptionsError, StoreError and what `broker.run` raises.
    """
    subscriptions = check.load(paths, Catalogues.shipped(), settings)
    with Store(settings.consumers.store) as store:
        knowledge = Knowledge(settings)
        served = partial(serve, knowledge=knowledge)
        engine = Engine(
            broker, store, subscriptions, clock=_now, settings=settings, foundation=foundation, serve=served
        )
        keeper = Keeper(broker, store, _now)

        def stop() -> None:
            keeper.stop()
            engine.stop()

        engine.start()
        keeper.start()
        reader = Reader(paths, settings, lambda found: broker.call(lambda: follow(engine, found)))
        with reader.reading(), knowledge.kept():
            run_until_stopped(broker, stop)


def _now() -> datetime:
    return datetime.now(UTC)


def follow(engine: Engine, subscriptions: Subscriptions) -> None:
    """Have *engine* serve *subscriptions*, or go on as it is where it can't; tell which."""
    try:
        change = engine.reload(subscriptions)
    except (SubscriptionsError, StoreError) as error:
        log.error("subscriptions can't be followed, those before hold", extra={"reason": str(error)})  # noqa: TRY400 - the reason says it all
        return
    facts = {
        "digest": subscriptions.digest,
        "added": [each.name for each in change.added],
        "changed": [each.name for each in change.changed],
        "removed": list(change.removed),
    }
    log.info("subscriptions read anew" if change else "subscriptions read anew, nothing has changed", extra=facts)


class Reader:
    """Reads subscriptions anew on SIGHUP and when their files change; what has mistakes is told, and left."""

    def __init__(self, paths: Sequence[Path], settings: Settings, found: Callable[[Subscriptions], None]) -> None:
        """Give what is in *paths* to *found*, from a thread of its own: checking may take its time."""
        self._paths, self._settings, self._found = paths, settings, found
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def read(self) -> None:
        """Read now."""
        with self._lock:
            try:
                subscriptions = check.load(self._paths, Catalogues.shipped(), self._settings)
            except SubscriptionsError as error:
                said = {"mistakes": [str(each) for each in error.mistakes]}
                log.error("subscriptions have mistakes, those before hold", extra=said)  # noqa: TRY400 - the mistakes say it all
                return
            self._found(subscriptions)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read anew, whenever there is cause to, until the block ends."""
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
        # The folder of Python callbacks is made with the first of them, which may have come before we look into it.
        came = False
        while not self._ended.is_set():
            folders = self._folders()
            for changes in self._changes(folders):
                if changes or came:
                    self.read()
                came = self._folders() != folders
                if came:
                    break

    def _folders(self) -> set[Path]:
        everywhere = (*self._paths, self._settings.consumers.callbacks)
        return {each.resolve() for each in everywhere if each.is_dir()}

    def _changes(self, folders: set[Path]) -> Iterator[object]:
        """Yield what changes in *folders*, and nothing once a second, until it is time to end."""
        # Folders and not files: editors put another file in the old one's place.
        files = {path for each in self._paths if not each.is_dir() for path in (each.absolute(), each.resolve())}
        watched = folders | {each.parent for each in files}

        def is_ours(_change: object, name: str) -> bool:
            path = Path(name)
            # `..data` is what Kubernetes turns over, in one step for all files of a folder.
            is_file = path in files or (path.name == "..data" and path.parent in watched)
            return is_file or (path.parent in folders and path.suffix in _SUFFIXES)

        return watch(
            *watched,
            watch_filter=is_ours,
            stop_event=self._ended,
            recursive=False,
            raise_interrupt=False,
            # So often it wakes to see whether it is to end; 50 ms, its own, are 20 times a second of an idle program.
            step=250,
            rust_timeout=1000,
            yield_on_timeout=True,
        )
