"""The Alembic revisions of the consumers' store."""
