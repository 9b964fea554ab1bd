"""Places with leases, in a table of their own, since a delivery may be counted at several.

The places of attempts under way are copied.  The column `deliveries.place` is not written any more; it stays, because
older versions of SQLite drop a column only by copying the table.
"""

from datetime import UTC, datetime, timedelta

from alembic import op
from sqlalchemy import Column, String, Text, text

revision = "5"
down_revision = "4"

_UNATTENDED = timedelta(days=1)


def upgrade() -> None:
    """Add the table, and copy the places of the attempts that are under way."""
    op.create_table(
        "places",
        Column("rule", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("event_id", String(26), primary_key=True),
        Column("subscription", String(100), primary_key=True),
        Column("replay", String(64), primary_key=True),
        Column("owner", Text, nullable=False),
        Column("since", String(32), nullable=False),
        Column("until", String(32), nullable=False),
        Column("ended", String(32)),
        sqlite_with_rowid=False,
    )
    op.create_index("places_by_delivery", "places", ["event_id", "subscription", "replay"])
    op.create_index("places_by_owner", "places", ["owner"])
    op.create_index("places_by_lease", "places", ["until"])
    until = datetime.now(UTC) + _UNATTENDED
    copied = text(
        "INSERT INTO places (rule, key, event_id, subscription, replay, owner, since, until) "
        "SELECT DISTINCT 'subscription', subscription || ' ' || place, event_id, subscription, replay, '', "
        "started, :until FROM deliveries WHERE lane IS NOT NULL AND place IS NOT NULL "
        "AND (outcome IS NULL OR outcome IN ('retry', 'wait')) "
        "AND (outcome IS NULL OR (outcome = 'wait' AND result IS NOT NULL))"
    )
    op.get_bind().execute(copied, {"until": until.isoformat(timespec="microseconds")})
