"""What services have missed."""

from alembic import op
from sqlalchemy import BigInteger, Column, String

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "misses",
        Column("service", String(63), primary_key=True),
        Column("missed", BigInteger, nullable=False),
        Column("count", BigInteger, nullable=False),
        Column("grown", BigInteger, nullable=False),
    )
