"""What Alembic runs: the revisions, on the connection that `store.migrating` hands it."""

from __future__ import annotations

from alembic import context

from stockade.control.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite changes a column by making the table anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
