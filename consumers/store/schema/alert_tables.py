"""The tables of alerts.  A change to a table needs a new revision.

Columns whose name ends with `due` have a time of the engine: milliseconds that have passed for it, as in `alert_clock`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table

from router.database.column_types import Moment, Plain, Word

from .delivery_tables import metadata

keys = Table(
    "alert_keys",
    metadata,
    Column("key", Word(64), primary_key=True),
    Column("rule", Word(100), nullable=False),
    Column("cluster", Plain, nullable=False),
    Column("about", Plain, nullable=False),
    Column("policy", Plain, nullable=False),
    Column("base", Plain, nullable=False),
    Column("latest", Moment, nullable=False),
    Column("quiet_at", Moment),
    Column("quiet_due", BigInteger),
    Index("alert_keys_by_quiet", "quiet_due"),
    Index("alert_keys_by_latest", "latest"),
    sqlite_with_rowid=False,
)
"""What alerts are about.  *policy* and *base* are JSON: what the rule says, and the state of before the observations.

*quiet_at* is when the alert that is open closes by itself unless it is opened again, by the time of capture.
"""

observations = Table(
    "alert_observations",
    metadata,
    Column("key", Word(64), primary_key=True),
    Column("id", Word(26), primary_key=True),
    Column("at", Moment, nullable=False),
    Column("kind", Word(16), nullable=False),
    Column("facts", Plain, nullable=False),
    Column("alert", Word(26)),
    Column("body", LargeBinary),
    sqlite_with_rowid=False,
)
"""What was observed of a key.  *facts* is JSON, *alert* the life that this opening began, *body* an event to ask about.
"""

alerts = Table(
    "alerts",
    metadata,
    Column("id", Word(26), primary_key=True),
    Column("key", Word(64), nullable=False),
    Column("rule", Word(100), nullable=False),
    Column("cluster", Plain, nullable=False),
    Column("node", Plain, nullable=False),
    Column("event_node", Plain, nullable=False),
    Column("nodes", Plain, nullable=False),
    Column("is_group", Boolean, nullable=False),
    Column("about", Plain, nullable=False),
    Column("state", Word(16), nullable=False),
    Column("severity", Word(16), nullable=False),
    Column("summary", Plain, nullable=False),
    Column("since", Moment, nullable=False),
    Column("until", Moment),
    Column("openings", Integer, nullable=False),
    Column("openings_told", Integer, nullable=False),
    Column("opened_by", Word(26), nullable=False),
    Column("last_opening", Word(26), nullable=False),
    Column("event_type", Plain, nullable=False),
    Column("change", Integer, nullable=False),
    Column("told", Boolean, nullable=False),
    Column("suppressed_by", Word(26)),
    Column("suppressed", Integer, nullable=False),
    Column("flapping", Boolean, nullable=False),
    Column("owner", Plain),
    Column("escalated_to", Plain),
    Column("by", Plain, nullable=False),
    Column("comment", Plain, nullable=False),
    Column("act", Word(26), nullable=False),
    Column("depth", Integer, nullable=False),
    Column("tell_due", BigInteger),
    Column("remind_due", BigInteger),
    Column("escalate_due", BigInteger),
    Column("ask_due", BigInteger),
    Column("next_due", BigInteger),
    Index("alerts_by_key", "key", "state"),
    Index("alerts_by_rule", "rule", "cluster", "state", "until"),
    Index("alerts_by_node", "cluster", "node", "state"),
    Index("alerts_by_state", "state", "id"),
    Index("alerts_by_parent", "suppressed_by"),
    Index("alerts_by_due", "next_due"),
    Index("alerts_by_end", "until"),
)
"""Lives of alerts, as they were told.  *next_due* is the least of the other times that are due."""

changes = Table(
    "alert_changes",
    metadata,
    Column("id", Word(26), primary_key=True),
    Column("alert", Word(26), nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", Word(40), nullable=False),
    Column("at", Moment, nullable=False),
    Column("cause", Word(16), nullable=False),
    Column("by", Plain, nullable=False),
    Column("comment", Plain, nullable=False),
    Column("why", Plain, nullable=False),
    Column("body", LargeBinary),
    Column("published", Moment),
    Index("alert_changes_by_alert", "alert", "number", unique=True),
    # The revision that makes it has its condition, as in `delivery_tables`.
    Index("alert_changes_unpublished", "at"),
    sqlite_with_rowid=False,
)
"""Changes of alerts: the history, and the outbox.  *body* is the event; without it, *why* says why it is not told."""

clock = Table(
    "alert_clock",
    metadata,
    Column("name", Word(16), primary_key=True),
    Column("passed", BigInteger, nullable=False),
    Column("owner", Plain, nullable=False),
    Column("boot", Plain, nullable=False),
    Column("booted", BigInteger, nullable=False),
    Column("at", Moment, nullable=False),
    Column("ticks", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""One row: the milliseconds that have passed for alerts, and the engine that counts them."""

receivers = Table(
    "alert_receivers",
    metadata,
    Column("subscription", Word(100), primary_key=True),
    Column("purpose", Word(16), primary_key=True),
    Column("address", Word(300), primary_key=True),
    Column("every", Integer, nullable=False),
    Column("tried", Moment, nullable=False),
    Column("succeeded", Moment),
    Column("failing_since", Moment),
    Column("error", Plain, nullable=False),
    Index("alert_receivers_by_time", "tried"),
    sqlite_with_rowid=False,
)
"""What consumers do *every* so many seconds at an address: they send open alerts again, or follow what people did."""
