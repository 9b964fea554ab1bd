"""Run by Alembic: brings the database of the connection that it is given to a revision."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
