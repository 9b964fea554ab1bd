"""Indexes by which deliveries and alerts do not read what is over, nor retention what stays; the age of breakers.

Also a table of how many rejected records of each user retention has deleted.
"""

from datetime import UTC, datetime

from alembic import op
from sqlalchemy import BigInteger, Column, String, Text, text

revision = "10"
down_revision = "9"

_OF_ONE_COLUMN = {
    "failures_by_time": ("failures", "at"),
    "folds_by_end": ("folds", "told"),
    "folds_by_due": ("folds", "due"),
    "stops_by_report": ("stops", "reported"),
    "stops_by_end": ("stops", "resume_reported"),
    "breakers_by_time": ("breakers", "latest"),
    "approvals_by_end": ("approvals", "until"),
    "alert_receivers_by_time": ("alert_receivers", "tried"),
}


def upgrade() -> None:
    """Add the indexes, of which two have one more column than before, the table and the column."""
    op.drop_index("folds_by_key", "folds")
    op.create_index("folds_by_key", "folds", ["subscription", "key", "told"])
    op.drop_index("alerts_by_rule", "alerts")
    op.create_index("alerts_by_rule", "alerts", ["rule", "cluster", "state", "until"])
    op.create_index("passes_by_event", "passes", ["event_id", "subscription", "rule"])
    op.create_index("places_by_end", "places", ["rule", "ended", "until"])
    op.create_index("silences_by_end", "silences", ["until"])
    op.create_table(
        "deleted_records",
        Column("user", Text, primary_key=True),
        Column("since", String(32), nullable=False),
        Column("latest", String(32), nullable=False),
        Column("count", BigInteger, nullable=False),
    )
    op.add_column("breakers", Column("latest", String(32)))
    # Those of targets that are gone stay until a person closes them.
    known = text("UPDATE breakers SET latest = :now WHERE until IS NULL OR until < '9999'")
    op.get_bind().execute(known, {"now": datetime.now(UTC).isoformat(timespec="microseconds")})
    for name, (table, column) in _OF_ONE_COLUMN.items():
        op.create_index(name, table, [column])
