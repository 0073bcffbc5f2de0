"""Which messages lie in quarantine for an error of ours, and which said a time that is too far ahead to count?

Each batch asks the first, `status` the second.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX quarantine_faults_idx ON quarantine (tenant_id) WHERE rule = 'internal-error'")
    op.execute("ALTER TABLE incoming ADD COLUMN is_ahead boolean NOT NULL DEFAULT false")
    op.execute("CREATE INDEX incoming_ahead_idx ON incoming (received_at) WHERE is_ahead")


def downgrade() -> None:
    op.execute("DROP INDEX quarantine_faults_idx")
    op.execute("ALTER TABLE incoming DROP COLUMN is_ahead")
