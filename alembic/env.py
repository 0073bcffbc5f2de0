"""Where do the migrations run? In the transaction of the connection that adapters/postgres/migrations.py hands over.

Nothing is configured here, neither logging nor a URL, so that a migration started by a test, by the CLI or by
`up` is the same one.
"""

from alembic import context

from domain.errors import UsageError

connection = context.config.attributes.get("connection")
if connection is None:
    raise UsageError("migrations run by `tenantry migrate`, which knows the database and keeps others out meanwhile")

context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
