"""Alembic runs this file to apply revisions to the connection that `revisions` passes to it."""

from alembic import context

context.configure(**context.config.attributes["configure"])
context.run_migrations()
