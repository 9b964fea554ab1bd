"""What queues of others refuse now."""

from alembic import op
from sqlalchemy import BigInteger, Column, String

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "refusals",
        Column("exchange", String(255), primary_key=True),
        Column("since", BigInteger, nullable=False),
        Column("count", BigInteger, nullable=False),
    )
