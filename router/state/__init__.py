"""The router's state: what became of each record, what happened to whole clusters, what was heard of each node.

It is in SQLite (a file, WAL, every commit synced) or in PostgreSQL, by URL.  One transaction holds all that one batch
of records changes.  Whatever fails here is a StateError, and nothing of the transaction has happened then.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from .. import databases
from ..collapse import Occurrence
from ..continuity import NodeState
from ..errors import StateError
from ..events import Event
from .rows import Fate, Place, epochs_of, fate_row, node_row, occurrence_row
from .schema import metadata, microseconds, moment, nodes, observers, occurrences, outbox, records

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["Changes", "Facts", "Fate", "Place", "State", "Transaction"]

_PORTION = 2000
"""Rows forgotten, or events read from the outbox, at once."""


@dataclass(slots=True)
class Changes:
    """What one batch changes: fates, new occurrences, who else observed which, nodes, own events to publish, sent."""

    fates: list[Fate] = field(default_factory=list)
    occurrences: list[Occurrence] = field(default_factory=list)
    observers: list[Fate] = field(default_factory=list)
    nodes: dict[Place, NodeState] = field(default_factory=dict)
    outbox: list[Event] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return any((self.fates, self.occurrences, self.observers, self.nodes, self.outbox, self.sent))


@dataclass(frozen=True, slots=True)
class Facts:
    """How much is known, in numbers."""

    records: int
    copies: int
    events: int
    nodes: int
    silent: int
    missing: int
    outbox: int


class Transaction:
    """One transaction: reads see what its own writes did, and nothing counts before it is over."""

    def __init__(self, connection: Connection) -> None:
        """Work over *connection*, in which a transaction was begun."""
        self._connection = connection
        self._dialect = postgresql if connection.dialect.name == "postgresql" else sqlite

    def fates(self, ids: Collection[str]) -> dict[str, Fate]:
        """Return what became of those of the records *ids* that were seen before."""
        query = select(records.c.id, records.c.event, records.c.node).where(records.c.id.in_(ids))
        return {row.id: Fate(row.id, row.event, row.node) for row in self._connection.execute(query)}

    def occurrences(
        self, moments: Mapping[str, Collection[datetime]], window: timedelta
    ) -> dict[str, list[Occurrence]]:
        """Return, by key, the occurrences captured within *window* of any of the *moments* of their key."""
        every = [microseconds(each) for several in moments.values() for each in several]
        width = window // timedelta(microseconds=1)
        table = occurrences.c
        near = table.captured.between(min(every) - width, max(every) + width)
        query = select(table.event, table.key, table.captured).where(table.key.in_(moments), near)
        rows = self._connection.execute(query).all()
        told: dict[str, set[str]] = {row.event: set() for row in rows}
        seen = select(observers.c.event, observers.c.node).where(observers.c.event.in_(told))
        for event_id, node in self._connection.execute(seen) if told else ():
            told[event_id].add(node)
        found: dict[str, list[Occurrence]] = {}
        for id_, key, captured in rows:
            found.setdefault(key, []).append(Occurrence(id_, key, moment(captured), frozenset(told[id_])))
        return found

    def observers(self, event_ids: Collection[str]) -> dict[str, int]:
        """Return, for those of *event_ids* that are global events, how many nodes have told of each."""
        query = select(observers.c.event, func.count().label("nodes")).where(observers.c.event.in_(event_ids))
        return {row.event: row.nodes for row in self._connection.execute(query.group_by(observers.c.event))}

    def nodes(self, places: Collection[Place]) -> dict[Place, NodeState]:
        """Return what is known of those of the nodes at *places* that were seen before."""
        return self._nodes(tuple_(nodes.c.cluster, nodes.c.node).in_(places))

    def quiet_nodes(self, before: datetime) -> dict[Place, NodeState]:
        """Return the nodes that send heartbeats, were not heard since *before*, and are not yet told to be silent."""
        return self._nodes(nodes.c.beating, ~nodes.c.silent, nodes.c.heard < microseconds(before))

    def nodes_with_untold_gaps(self, before: datetime) -> dict[Place, NodeState]:
        """Return the nodes with a gap that is there since *before* and was not told of."""
        return self._nodes(nodes.c.untold <= microseconds(before))

    def _nodes(self, *wanted: Any) -> dict[Place, NodeState]:  # noqa: ANN401 - SQLAlchemy's expressions
        table = nodes.c
        columns = (table.cluster, table.node, table.heard, table.beating, table.silent, table.epochs)
        rows = self._connection.execute(select(*columns).where(*wanted))
        return {
            (cluster, node): NodeState(moment(heard), epochs_of(epochs), beating, silent)
            for cluster, node, heard, beating, silent, epochs in rows
        }

    def write(self, changes: Changes, received: datetime) -> None:
        """Have *changes* come true with the end of the transaction; *received* is when."""
        now = microseconds(received)
        self._insert(records, [fate_row(each, now) for each in changes.fates])
        self._insert(occurrences, [occurrence_row(each, now) for each in changes.occurrences])
        self._insert(observers, [{"event": e.event, "node": e.node, "record": e.record} for e in changes.observers])
        self._replace_nodes(changes.nodes)
        self._insert(outbox, [{"id": each.id, "body": each.to_json()} for each in changes.outbox])
        if changes.sent:
            self._connection.execute(delete(outbox).where(outbox.c.id.in_(changes.sent)))

    def _insert(self, table: Table, rows: list[dict[str, object]]) -> None:
        if rows:
            # What is there already says the same: ids are made of what they stand for.
            self._connection.execute(self._dialect.insert(table).on_conflict_do_nothing(), rows)

    def _replace_nodes(self, changed: Mapping[Place, NodeState]) -> None:
        if not changed:
            return
        statement = self._dialect.insert(nodes)
        values = {each.name: each for each in statement.excluded if not each.primary_key}
        upsert = statement.on_conflict_do_update(index_elements=list(nodes.primary_key), set_=values)
        self._connection.execute(upsert, [node_row(place, state) for place, state in changed.items()])

    def waiting(self) -> list[Event]:
        """Return own events that are not yet sent, the oldest first; a bounded number of them."""
        query = select(outbox.c.body).order_by(outbox.c.number).limit(_PORTION)
        return [Event.from_json(body) for (body,) in self._connection.execute(query)]

    def forget(self, before: datetime) -> bool:
        """Forget a portion of what was received *before*; return whether there is more of it."""
        full = False
        for table, key in ((records, records.c.id), (occurrences, occurrences.c.event)):
            old = select(key).where(table.c.received < microseconds(before)).limit(_PORTION)
            ids = self._connection.execute(old).scalars().all()
            if ids and table is occurrences:
                self._connection.execute(delete(observers).where(observers.c.event.in_(ids)))
            if ids:
                self._connection.execute(delete(table).where(key.in_(ids)))
            full = full or len(ids) == _PORTION
        self._connection.execute(delete(nodes).where(nodes.c.heard < microseconds(before)))
        return full

    def facts(self) -> Facts:
        """Return how much is known."""

        def count(table: Table, *wanted: Any) -> int:  # noqa: ANN401 - SQLAlchemy's expressions
            return self._connection.execute(select(func.count()).select_from(table).where(*wanted)).scalar_one()

        all_records, copies = count(records), count(records, records.c.is_copy)
        missing = self._connection.execute(select(func.coalesce(func.sum(nodes.c.missing), 0))).scalar_one()
        return Facts(
            records=all_records,
            copies=copies,
            events=all_records - copies,
            nodes=count(nodes),
            silent=count(nodes, nodes.c.silent),
            missing=int(missing),
            outbox=count(outbox),
        )


class State(databases.Opened):
    """The line to the database; for one thread."""

    def __init__(self, url: str) -> None:
        """Open the database at *url*, such as `sqlite:////var/lib/clusterbus/router.db`, and make what is missing.

        Raises SettingsError where *url* cannot be used, StateError where the database cannot.
        """
        parsed = databases.parsed(url, "router.state")
        self.name = parsed.render_as_string(hide_password=True)
        with self._translated("opened"):
            # Two routers may overlap for a moment while one takes over: of two batches that conflict the later is
            # repeated.
            self._engine = databases.engine(parsed, isolation="SERIALIZABLE")
            metadata.create_all(self._engine)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a transaction and commit it at the end; where anything is raised, nothing of it has happened."""
        with self._translated("written"), self._engine.begin() as connection:
            yield Transaction(connection)

    def facts(self) -> Facts:
        """Return how much is known."""
        with self.transaction() as transaction:
            return transaction.facts()

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StateError(f"{self.name} cannot be {done}: {type(cause).__name__}: {cause}") from error
