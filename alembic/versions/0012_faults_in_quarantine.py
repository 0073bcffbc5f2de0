"""Which messages lie in quarantine for an error of ours? Each batch asks."""

from alembic import op

revision = "0012"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX quarantine_faults_idx ON quarantine (tenant_id) WHERE rule = 'internal-error'")


def downgrade() -> None:
    op.execute("DROP INDEX quarantine_faults_idx")
