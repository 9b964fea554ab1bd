"""The router's state: the event of each record, the occurrences of global events, the sequence numbers of each node.

The state is in SQLite (a file in WAL mode, each commit synced) or in PostgreSQL, by URL.  One transaction writes all
changes of one batch of records.  Each failure raises StateError, and nothing of its transaction is written.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Connection, Select, String, Table, column, delete, func, select, tuple_, values

from .. import database
from ..broker.topology import EVENTS
from ..database.many_rows import batched, delete_rows
from ..errors import StateError
from ..model.events import Event
from ..services.misses import Misses
from .deduplication import Occurrence, spans
from .gap_detection import NodeState, Place
from .state_rows import (
    MOST_MISSING,
    Changes,
    Condition,
    Dismissed,
    Facts,
    Fate,
    epochs_of,
    fate_row,
    misses_row,
    node_row,
    occurrence_row,
)
from .state_schema import (
    REVISIONS,
    dismissals,
    microseconds,
    misses,
    moment,
    nodes,
    observers,
    occurrences,
    outbox,
    records,
    refusals,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["Changes", "Condition", "Facts", "Fate", "Place", "State", "Transaction"]

_PORTION = 2000
"""The most rows that one call deletes, or reads from the outbox."""

_REMEMBERED = timedelta(days=1)
"""How long after the last one it is remembered how many rejected records of a user were not kept."""

_MOST_DISMISSED = 5


class Transaction:
    """One transaction: it reads its own writes, and others see them when it ends."""

    def __init__(self, connection: Connection) -> None:
        """Use *connection*, on which a transaction has begun."""
        self._connection = connection

    def fates(self, ids: Collection[str]) -> dict[str, Fate]:
        """Return the fates of those of the records *ids* that were seen before."""
        columns = (records.c.id, records.c.event, records.c.node, records.c.digest, records.c.received)
        rows = self._connection.execute(select(*columns).where(records.c.id.in_(ids)))
        return {id_: Fate(id_, event, node, digest, moment(received)) for id_, event, node, digest, received in rows}

    def occurrences(
        self, moments: Mapping[str, Collection[datetime]], window: timedelta
    ) -> dict[str, list[Occurrence]]:
        """Return, by key, the occurrences captured within *window* of any of the *moments* of their key."""
        near = values(column("key", String), column("begin", BigInteger), column("end", BigInteger), name="near")
        width = window // timedelta(microseconds=1)
        every = {key: spans(map(microseconds, several), width) for key, several in moments.items()}
        wanted = near.data([(key, *span) for key, found in every.items() for span in found]).cte()
        table = occurrences.c
        here = (table.key == wanted.c.key) & table.captured.between(wanted.c.begin, wanted.c.end)
        query = select(table.event, table.key, table.captured, table.received).join_from(wanted, occurrences, here)
        rows = self._connection.execute(query).all()
        seen_by: dict[str, set[str]] = {row.event: set() for row in rows}
        # How many there are is up to the nodes.
        for ids in batched([*seen_by], _PORTION):
            seen = select(observers.c.event, observers.c.node).where(observers.c.event.in_(ids))
            for event_id, node in self._connection.execute(seen):
                seen_by[event_id].add(node)
        found: dict[str, list[Occurrence]] = {}
        for id_, key, captured, received in rows:
            known = Occurrence(id_, key, moment(captured), moment(received), frozenset(seen_by[id_]))
            found.setdefault(key, []).append(known)
        return found

    def observers(self, event_ids: Collection[str]) -> dict[str, int]:
        """Return how many nodes reported each of *event_ids*; ids of events that are not global are left out."""
        query = select(observers.c.event, func.count().label("nodes")).where(observers.c.event.in_(event_ids))
        return {row.event: row.nodes for row in self._connection.execute(query.group_by(observers.c.event))}

    def nodes(self, places: Collection[Place]) -> dict[Place, NodeState]:
        """Return the states of those of the nodes at *places* that were seen before."""
        return self._nodes(tuple_(nodes.c.cluster, nodes.c.node).in_(places))

    def quiet_nodes(self, before: datetime) -> dict[Place, NodeState]:
        """Return the nodes that send heartbeats, sent nothing since *before*, and are not yet reported as silent."""
        return self._nodes(nodes.c.beating, ~nodes.c.silent, nodes.c.heard < microseconds(before))

    def nodes_with_untold_gaps(self, before: datetime) -> dict[Place, NodeState]:
        """Return the nodes with a gap that began by *before* and is not yet reported."""
        return self._nodes(nodes.c.untold <= microseconds(before))

    def nodes_with_gaps(self) -> dict[Place, NodeState]:
        """Return the nodes with a reported gap."""
        return self._nodes(nodes.c.missing > 0)

    def _nodes(self, *wanted: Any) -> dict[Place, NodeState]:  # noqa: ANN401 - SQLAlchemy's expressions
        table = nodes.c
        columns = (table.cluster, table.node, table.heard, table.beating, table.silent, table.epochs)
        rows = self._connection.execute(select(*columns).where(*wanted))
        return {
            (cluster, node): NodeState(moment(heard), epochs_of(epochs), beating, silent)
            for cluster, node, heard, beating, silent, epochs in rows
        }

    def write(self, changes: Changes, received: datetime) -> None:
        """Write *changes*; *received* is when the batch was received."""
        now = microseconds(received)
        self._insert(records, [fate_row(each, now) for each in changes.fates])
        self._insert(occurrences, [occurrence_row(each, now) for each in changes.occurrences])
        self._insert(observers, [{"event": e.event, "node": e.node, "record": e.record} for e in changes.observers])
        self._replace_nodes(changes.nodes)
        self._insert(outbox, [{"id": each.id, "body": each.to_json()} for each in changes.outbox])
        if changes.sent:
            self._connection.execute(delete(outbox).where(outbox.c.id.in_(changes.sent)))
        if changes.refusals is not None:
            self._replace_refusals(changes.refusals, now)
        for name, each in changes.misses.items():
            self._connection.execute(delete(misses).where(misses.c.service == name))
            self._insert(misses, [misses_row(name, each)])
        self._add_dismissed(changes.dismissed, now)

    def _add_dismissed(self, more: Mapping[str, int], now: int) -> None:
        if not more:
            return
        day = _REMEMBERED // timedelta(microseconds=1)
        self._connection.execute(delete(dismissals).where(dismissals.c.latest < now - day))
        statement = database.inserting(self._connection.dialect.name, dismissals)
        added = {"count": dismissals.c["count"] + statement.excluded["count"], "latest": statement.excluded.latest}
        upsert = statement.on_conflict_do_update(index_elements=list(dismissals.primary_key), set_=added)
        rows = [{"user": user, "since": now, "latest": now, "count": count} for user, count in more.items()]
        self._connection.execute(upsert, rows)

    def _replace_refusals(self, count: int, now: int) -> None:
        if not count:
            self._connection.execute(delete(refusals))
            return
        statement = database.inserting(self._connection.dialect.name, refusals)
        upsert = statement.on_conflict_do_update(index_elements=list(refusals.primary_key), set_={"count": count})
        self._connection.execute(upsert, [{"exchange": EVENTS, "since": now, "count": count}])

    def _insert(self, table: Table, rows: list[dict[str, object]]) -> None:
        if rows:
            # An existing row holds the same values: an id determines its row.
            statement = database.inserting(self._connection.dialect.name, table)
            self._connection.execute(statement.on_conflict_do_nothing(), rows)

    def _replace_nodes(self, changed: Mapping[Place, NodeState]) -> None:
        if not changed:
            return
        statement = database.inserting(self._connection.dialect.name, nodes)
        values = {each.name: each for each in statement.excluded if not each.primary_key}
        upsert = statement.on_conflict_do_update(index_elements=list(nodes.primary_key), set_=values)
        self._connection.execute(upsert, [node_row(place, state) for place, state in changed.items()])

    def waiting(self, limit: int = _PORTION) -> list[Event]:
        """Return own events that are not sent yet, oldest first, at most *limit* of them."""
        query = select(outbox.c.body).order_by(outbox.c.number).limit(limit)
        return [Event.from_json(body) for (body,) in self._connection.execute(query)]

    def refusals(self) -> tuple[int, datetime | None]:
        """Return how many events queues of others have refused, and since when; 0 and None if they refuse none."""
        found = self._connection.execute(select(refusals.c["count"], refusals.c.since)).first()
        return (found[0], moment(found[1])) if found else (0, None)

    def misses(self) -> dict[str, Misses]:
        """Return what services have missed, by name."""
        columns = (misses.c.service, misses.c.missed, misses.c["count"], misses.c.grown, misses.c.emptied)
        rows = self._connection.execute(select(*columns))
        return {
            name: Misses(missed, count, moment(grown), None if emptied is None else moment(emptied))
            for name, missed, count, grown, emptied in rows
        }

    def dismissed(self) -> tuple[Dismissed, ...]:
        """Return the users of whom most rejected records were not kept of late, the worst first."""
        table = dismissals.c
        columns = (table.user, table["count"], table.since, table.latest)
        rows = self._connection.execute(select(*columns).order_by(table["count"].desc()).limit(_MOST_DISMISSED))
        return tuple(Dismissed(user, count, moment(since), moment(latest)) for user, count, since, latest in rows)

    def forget(self, before: datetime) -> bool:
        """Delete a limited number of rows received *before*; return whether there are more."""
        limit = microseconds(before)
        old = select(occurrences.c.event).where(occurrences.c.received < limit).limit(_PORTION)
        events = self._connection.execute(old).scalars().all()
        # An occurrence may have as many observers as the cluster has nodes; it goes after the last of them.
        seen = select(*observers.primary_key).where(observers.c.event.in_(events))
        rows = [self._delete(observers, seen)] if events else [0]
        if rows[0] < _PORTION:
            rows.append(self._delete(occurrences, old))
        for each, received in ((records, records.c.received), (nodes, nodes.c.heard)):
            rows.append(self._delete(each, select(*each.primary_key).where(received < limit)))
        return max(rows) == _PORTION

    def _delete(self, table: Table, query: Select[Any]) -> int:
        """Delete up to `_PORTION` rows of *table*, whose keys *query* finds; return how many."""
        found = self._connection.execute(query.limit(_PORTION)).mappings().all()
        delete_rows(self._connection, table, found)
        return len(found)

    def facts(self) -> Facts:
        """Return the state in numbers."""
        found = self.condition()
        facts = {each.name: getattr(found, each.name) for each in fields(found)}
        all_records, copies = self._count(records), self._count(records, records.c.is_copy)
        return Facts(records=all_records, copies=copies, events=all_records - copies, **facts)

    def condition(self) -> Condition:
        """Return what is wrong, in numbers."""
        refused, refused_since = self.refusals()
        with_gaps = self.nodes_with_gaps()
        missing = self._connection.execute(select(func.coalesce(func.sum(nodes.c.missing), 0))).scalar_one()
        return Condition(
            nodes=self._count(nodes),
            silent=self._count(nodes, nodes.c.silent),
            missing=int(missing),
            missing_is_least=any(each.may_forget or each.missing > MOST_MISSING for each in with_gaps.values()),
            outbox=self._count(outbox),
            outbox_since=next((each.moment for each in self.waiting(1)), None),
            refusals=refused,
            refused_since=refused_since,
            dismissed=self.dismissed(),
        )

    def _count(self, table: Table, *wanted: Any) -> int:  # noqa: ANN401 - SQLAlchemy's expressions
        return self._connection.execute(select(func.count()).select_from(table).where(*wanted)).scalar_one()


class State(database.Opened):
    """The open database of the state; for one thread."""

    setting = "router.state"
    failure = StateError

    def __init__(self, url: str, *, upgrade: bool = True) -> None:
        """Open the database at *url*, such as `sqlite:////var/lib/clusterbus/router.db`; create or upgrade its tables.

        Without *upgrade*, the database is not changed.  Raises SettingsError if *url* cannot be used, and StateError if
        the database cannot; its cause is a VersionError if the tables are of another release.
        """
        parsed = database.parsed(url, self.setting)
        # Two routers may overlap for a moment while one takes over.  Of two conflicting batches, the later is repeated.
        super().__init__(
            database.engine(parsed, setting=self.setting, isolation="SERIALIZABLE"), parsed, REVISIONS, upgrade=upgrade
        )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Give a transaction that is written when the block ends without an error, and rolled back otherwise."""
        with self.writing() as connection:
            yield Transaction(connection)

    def facts(self) -> Facts:
        """Return the state in numbers."""
        with self.reading() as connection:
            return Transaction(connection).facts()

    def condition(self) -> Condition:
        """Return what is wrong, in numbers."""
        with self.reading() as connection:
            return Transaction(connection).condition()

    def newest(self, count: int) -> list[tuple[str, datetime]]:
        """Return the ids of the *count* records that arrived last, each with its time of arrival."""
        wanted = select(records.c.id, records.c.received).order_by(records.c.received.desc()).limit(count)
        with self.reading() as connection:
            return [(id_, moment(received)) for id_, received in connection.execute(wanted)]

    def _message(self, done: str, cause: Exception) -> str:
        return f"{self.name} cannot be {done}: {type(cause).__name__}: {database.reason(cause, self._url)}"
