"""Alembic's hook: run the scripts on the connection that store.deployment hands over."""

from alembic import context

from cvmd.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
