"""Which version is each worker, and which events can it read? The gate of new events asks."""

from alembic import op

revision = "0015"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE workers ADD COLUMN version text, ADD COLUMN reads jsonb")


def downgrade() -> None:
    op.execute("ALTER TABLE workers DROP COLUMN version, DROP COLUMN reads")
