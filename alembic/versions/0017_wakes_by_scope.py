"""The work queue with one index fewer: rows are found by scope and number, and claimed by when they are due."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE wakes DROP CONSTRAINT wakes_pkey")
    op.execute("DROP INDEX wakes_scope_idx")
    op.execute("ALTER TABLE wakes ADD CONSTRAINT wakes_pkey PRIMARY KEY (scope, number)")


def downgrade() -> None:
    op.execute("ALTER TABLE wakes DROP CONSTRAINT wakes_pkey")
    op.execute("ALTER TABLE wakes ADD CONSTRAINT wakes_pkey PRIMARY KEY (number)")
    op.execute("CREATE INDEX wakes_scope_idx ON wakes (scope)")
