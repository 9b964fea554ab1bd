"""`events`: what a service's program imports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from router.model.events import Event, Value

from .connection import Connection
from .double import Double
from .finished import Finished, Store
from .handler import Handler
from .options import login, options
from .since import Since
from .stream import Stream

if TYPE_CHECKING:
    from router.services.producer import Given

    from .publisher import DoublePublisher, Publisher

Result = TypeVar("Result")

PREFETCH = 100
PATIENCE = timedelta(seconds=30)


class Events:
    """Reads the events of a service.

    for event in events(service="tickets"):
        print(event.type, event.data["fsName"])
    """

    Store = Store

    def __init__(self) -> None:
        """Read brokers, until a double is used."""
        self._double: Double | None = None

    def __call__(  # noqa: PLR0913 - each is one option
        self,
        *on: str,
        service: str | None = None,
        queue: str | None = None,
        url: str | Sequence[str] | None = None,
        password_file: str | os.PathLike[str] | None = None,
        since: Since | None = None,
        store: str | os.PathLike[str] | Finished | None = None,
        dedupe: bool = True,
        prefetch: int = PREFETCH,
        patience: timedelta = PATIENCE,
    ) -> Stream:
        """Return the events of *service*, to be iterated over.

        *on* names the events that the program takes, by type, category or pattern; others are acknowledged and passed
        over.  *queue* is another queue than that of the service.  Without *url* (one or several), *password_file* and
        *service*, the variables CLUSTERBUS_URL, CLUSTERBUS_PASSWORD_FILE and CLUSTERBUS_SERVICE say them.

        *since* reads the history first: a duration such as `2h`, a time, or the id of the last event that is not
        wanted.  *store* is where finished events are remembered by id: a path, or an object with `in` and `add`; by
        default the last ones are, in memory.  With *dedupe* False none are.

        At most *prefetch* events are under way.  *patience* is how long the first connection is tried.

        Raises ValueError and SettingsError; the first event may raise Unreachable and Refused.
        """
        wanted = options(
            on,
            # Tests have no environment to name it.
            service=service or ("double" if self._double else None),
            queue=queue,
            url=url,
            password_file=password_file,
            since=since,
            prefetch=prefetch,
            patience=patience,
        )
        source = self._double.source() if self._double else Connection(wanted)
        return Stream(source, wanted, store, dedupe=dedupe)

    def handler(  # noqa: PLR0913 - each is one option
        self,
        *on: str,
        service: str | None = None,
        queue: str | None = None,
        url: str | Sequence[str] | None = None,
        password_file: str | os.PathLike[str] | None = None,
        since: Since | None = None,
        store: str | os.PathLike[str] | Finished | None = None,
        dedupe: bool = True,
        prefetch: int = PREFETCH,
        patience: timedelta = PATIENCE,
        attempts: int = 5,
        pause: timedelta = timedelta(seconds=1),
    ) -> Callable[[Callable[[Event], Result]], Handler[Result]]:
        """Make a function handle the events of a service; its `run` does so.

        The options are those of `events`.  A function that raises is called again after *pause*, then after twice as
        long; after *attempts* in all, or at once if it raises Rejected, the event is a dead letter.
        """

        def stream() -> Stream:
            return self(
                *on,
                service=service,
                queue=queue,
                url=url,
                password_file=password_file,
                since=since,
                store=store,
                dedupe=dedupe,
                prefetch=prefetch,
                patience=patience,
            )

        return lambda function: Handler(function, stream, attempts=attempts, pause=pause)

    def publisher(
        self,
        *,
        url: str | Sequence[str] | None = None,
        password_file: str | os.PathLike[str] | None = None,
        patience: timedelta = PATIENCE,
    ) -> Publisher | DoublePublisher:
        """Return what publishes events of the service's own source over one connection, in its `with` block.

        with events.publisher() as publish:
            publish("slurm.jobFailed", jobId=4711, jobNodes=["n1", "n2"], cluster="prod")

        The options are those of `events`; *patience* is how long each call tries.
        """
        from .publisher import DoublePublisher, Publisher  # noqa: PLC0415 - only for programs that publish

        if self._double:
            return DoublePublisher(self._double.emitted)
        return Publisher(login(url, password_file), patience)

    def emit(
        self,
        event_type: str,
        data: Mapping[str, Given] | None = None,
        /,
        *,
        cluster: str = "local",
        id: str = "",  # noqa: A002 - the word of events
        url: str | Sequence[str] | None = None,
        password_file: str | os.PathLike[str] | None = None,
        patience: timedelta = PATIENCE,
        **variables: Given,
    ) -> str:
        """Publish one event over a connection of its own, as a `publisher` does; return its id."""
        with self.publisher(url=url, password_file=password_file, patience=patience) as publish:
            return publish(event_type, data, cluster=cluster, id=id, **variables)

    def double(self, given: Iterable[Event] = ()) -> Double:
        """Return a double for tests: in its `with` block, `events(...)` reads the events *given*, and no broker.

        with events.double([events.example("gpfs.diskFailure", diskName="d1")]) as double:
            main()
        assert not double.returned
        """
        return Double(given, self._use)

    @staticmethod
    def example(
        event_type: str, /, *, node: str = "node1", cluster: str = "sample", time: datetime | None = None, **data: Value
    ) -> Event:
        """Return an event for tests, as the router makes it: *data* and, for the rest, examples of the catalogue."""
        # Only for tests: programs need no catalogues.
        from consumers.config.registrations import Registrations  # noqa: PLC0415 - see above
        from consumers.config.synthetic_events import synthetic_event  # noqa: PLC0415 - see above
        from router.model import event_words  # noqa: PLC0415 - see above
        from router.model.catalogue import Catalogues  # noqa: PLC0415 - see above

        catalogues = Catalogues.shipped()
        moment = time or datetime.now(UTC)
        found = event_words.named(event_type, catalogues)
        known = Registrations(catalogues)
        return synthetic_event(found, data, known, moment=moment, node=node, cluster=cluster, completed=True)

    def _use(self, double: Double | None) -> Double | None:
        before, self._double = self._double, double
        return before


events = Events()
