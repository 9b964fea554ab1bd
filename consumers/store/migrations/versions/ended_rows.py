"""Indexes by which deliveries and alerts do not read what is over: passes, groups, places, silences, closed alerts.

Also a table of how many rejected records of each user retention has deleted.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, String, Text

revision = "10"
down_revision = "9"


def upgrade() -> None:
    """Add the indexes; two have one more column than before."""
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
