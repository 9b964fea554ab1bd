"""The Alembic revisions of the router's state."""
