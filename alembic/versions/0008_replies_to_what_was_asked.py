"""Which orders are replies awaited to, and what was replied? A row without `said` awaits one; all of it is derived."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM replies")  # whoever waits for one asks again
    op.execute("""
        ALTER TABLE replies
            ALTER COLUMN said DROP NOT NULL,
            ADD COLUMN taken boolean NOT NULL DEFAULT false,
            ADD COLUMN signed_at bigint""")


def downgrade() -> None:
    op.execute("DELETE FROM replies")
    op.execute("ALTER TABLE replies DROP COLUMN taken, DROP COLUMN signed_at, ALTER COLUMN said SET NOT NULL")
