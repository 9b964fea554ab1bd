"""How many rejected records of each user were not kept."""

from alembic import op
from sqlalchemy import BigInteger, Column, String

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "dismissals",
        Column("user", String(255), primary_key=True),
        Column("since", BigInteger, nullable=False),
        Column("latest", BigInteger, nullable=False),
        Column("count", BigInteger, nullable=False),
    )
