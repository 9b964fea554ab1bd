"""The Alembic revisions of the facts."""
