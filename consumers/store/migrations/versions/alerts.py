"""Alerts: keys, what was observed of them, lives and changes, the time that has passed, and how receivers answer."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, String, Text, text

revision = "7"
down_revision = "6"

_UNPUBLISHED = text("published IS NULL")


def upgrade() -> None:
    """Add the tables."""
    _keys()
    _observations()
    _alerts()
    _changes()
    _clock()
    _receivers()


def _keys() -> None:
    op.create_table(
        "alert_keys",
        Column("key", String(64), primary_key=True),
        Column("rule", String(100), nullable=False),
        Column("cluster", Text, nullable=False),
        Column("about", Text, nullable=False),
        Column("policy", Text, nullable=False),
        Column("base", Text, nullable=False),
        Column("latest", String(32), nullable=False),
        Column("quiet_at", String(32)),
        Column("quiet_due", BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_index("alert_keys_by_quiet", "alert_keys", ["quiet_due"])
    op.create_index("alert_keys_by_latest", "alert_keys", ["latest"])


def _observations() -> None:
    op.create_table(
        "alert_observations",
        Column("key", String(64), primary_key=True),
        Column("id", String(26), primary_key=True),
        Column("at", String(32), nullable=False),
        Column("kind", String(16), nullable=False),
        Column("facts", Text, nullable=False),
        Column("alert", String(26)),
        Column("body", LargeBinary),
        sqlite_with_rowid=False,
    )


def _alerts() -> None:
    op.create_table("alerts", *_what_it_is(), *_where_it_stands(), *_when_it_is_due())
    for name, columns in _INDEXES.items():
        op.create_index(name, "alerts", columns)


def _what_it_is() -> list[Column[Any]]:
    return [
        Column("id", String(26), primary_key=True),
        Column("key", String(64), nullable=False),
        Column("rule", String(100), nullable=False),
        Column("cluster", Text, nullable=False),
        Column("node", Text, nullable=False),
        Column("event_node", Text, nullable=False),
        Column("nodes", Text, nullable=False),
        Column("is_group", Boolean, nullable=False),
        Column("about", Text, nullable=False),
    ]


def _where_it_stands() -> list[Column[Any]]:
    return [
        Column("state", String(16), nullable=False),
        Column("severity", String(16), nullable=False),
        Column("summary", Text, nullable=False),
        Column("since", String(32), nullable=False),
        Column("until", String(32)),
        Column("openings", Integer, nullable=False),
        Column("openings_told", Integer, nullable=False),
        Column("opened_by", String(26), nullable=False),
        Column("last_opening", String(26), nullable=False),
        Column("event_type", Text, nullable=False),
        Column("change", Integer, nullable=False),
        Column("told", Boolean, nullable=False),
        Column("suppressed_by", String(26)),
        Column("suppressed", Integer, nullable=False),
        Column("flapping", Boolean, nullable=False),
        Column("owner", Text),
        Column("escalated_to", Text),
        Column("by", Text, nullable=False),
        Column("comment", Text, nullable=False),
        Column("act", String(26), nullable=False),
        Column("depth", Integer, nullable=False),
    ]


def _when_it_is_due() -> list[Column[Any]]:
    return [
        Column("tell_due", BigInteger),
        Column("remind_due", BigInteger),
        Column("escalate_due", BigInteger),
        Column("ask_due", BigInteger),
        Column("next_due", BigInteger),
    ]


_INDEXES = {
    "alerts_by_key": ["key", "state"],
    "alerts_by_rule": ["rule", "cluster", "state"],
    "alerts_by_node": ["cluster", "node", "state"],
    "alerts_by_state": ["state", "id"],
    "alerts_by_parent": ["suppressed_by"],
    "alerts_by_due": ["next_due"],
    "alerts_by_end": ["until"],
}


def _changes() -> None:
    op.create_table(
        "alert_changes",
        Column("id", String(26), primary_key=True),
        Column("alert", String(26), nullable=False),
        Column("number", Integer, nullable=False),
        Column("name", String(40), nullable=False),
        Column("at", String(32), nullable=False),
        Column("cause", String(16), nullable=False),
        Column("by", Text, nullable=False),
        Column("comment", Text, nullable=False),
        Column("why", Text, nullable=False),
        Column("body", LargeBinary),
        Column("published", String(32)),
        sqlite_with_rowid=False,
    )
    op.create_index("alert_changes_by_alert", "alert_changes", ["alert", "number"], unique=True)
    op.create_index(
        "alert_changes_unpublished",
        "alert_changes",
        ["at"],
        sqlite_where=_UNPUBLISHED,
        postgresql_where=_UNPUBLISHED,
    )


def _clock() -> None:
    op.create_table(
        "alert_clock",
        Column("name", String(16), primary_key=True),
        Column("passed", BigInteger, nullable=False),
        Column("owner", Text, nullable=False),
        Column("boot", Text, nullable=False),
        Column("booted", BigInteger, nullable=False),
        Column("at", String(32), nullable=False),
        Column("ticks", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _receivers() -> None:
    op.create_table(
        "alert_receivers",
        Column("subscription", String(100), primary_key=True),
        Column("purpose", String(16), primary_key=True),
        Column("address", String(300), primary_key=True),
        Column("every", Integer, nullable=False),
        Column("tried", String(32), nullable=False),
        Column("succeeded", String(32)),
        Column("failing_since", String(32)),
        Column("error", Text, nullable=False),
        sqlite_with_rowid=False,
    )
