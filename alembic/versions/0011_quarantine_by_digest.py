"""Was a message quarantined? An audit of the intake asks by digest, whatever became of it since."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX quarantine_digest_idx ON quarantine (digest)")


def downgrade() -> None:
    op.execute("DROP INDEX quarantine_digest_idx")
