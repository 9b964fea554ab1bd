"""When nothing waited for a service for the last time."""

from alembic import op
from sqlalchemy import BigInteger, Column

revision = "5"
down_revision = "4"


def upgrade() -> None:
    """Add the column."""
    op.add_column("misses", Column("emptied", BigInteger))
