"""What the console looks for: scopes that need a look, products by level, acts in the log, messages by their offset.

On a large log, where appends may not wait for the first two of them, make them beforehand by CREATE INDEX CONCURRENTLY:
an index that is there is left as it is.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

UP = """
CREATE INDEX IF NOT EXISTS stored_events_acts_idx ON stored_events (notification_id)
    WHERE position('"kind":"operator"'::bytea IN state) > 0;
CREATE INDEX IF NOT EXISTS incoming_offset_idx ON incoming USING brin ("offset")
    WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX IF NOT EXISTS ix_provisionings_unsettled ON provisionings (state, tenant_id, kind, key)
    WHERE state <> 'converged';
CREATE INDEX IF NOT EXISTS ix_provisionings_level ON provisionings (level, tenant_id) WHERE kind = 'product';
CREATE INDEX IF NOT EXISTS quarantine_open_number_idx ON quarantine (number) WHERE state = 'open';
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(
        "DROP INDEX stored_events_acts_idx, incoming_offset_idx, ix_provisionings_unsettled, ix_provisionings_level,"
        " quarantine_open_number_idx"
    )
