"""The unfinished deliveries of each lane in their order: those whose handler was called, and those that only wait."""

from alembic import op
from sqlalchemy import text

revision = "8"
down_revision = "7"

_BEGUN = (
    "lane IS NOT NULL AND (outcome IS NULL OR outcome = 'retry' "
    "OR (outcome = 'wait' AND (attempt > 1 OR result IS NOT NULL)))"
)
_WAITING = "lane IS NOT NULL AND outcome = 'wait' AND attempt = 1 AND result IS NULL"
_COLUMNS = ["subscription", "lane", "started", "event_id", "replay"]


def upgrade() -> None:
    """Replace the index that is not in the order of the lanes."""
    for name, condition in (("deliveries_begun", _BEGUN), ("deliveries_waiting", _WAITING)):
        where = text(condition)
        op.create_index(name, "deliveries", _COLUMNS, sqlite_where=where, postgresql_where=where)
    op.drop_index("deliveries_unfinished", "deliveries")
