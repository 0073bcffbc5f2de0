"""Messages of the quarantine that were retried or discarded are found by their state, however many there are.

They grow with time, and a page of the discarded ones read all that were retried to find them. An open message is in
this index no more than before; closing one writes it.
"""

from alembic import op

revision = "0029"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS quarantine_closed_idx ON quarantine (state, number) WHERE state <> 'open'")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS quarantine_closed_idx")
