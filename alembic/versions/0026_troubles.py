"""Scopes in trouble have a column and an index of their own, in place of an index on the state.

A scope that begins and converges changes its state twice, and with an index on the state each change is a new row in
every index of the table. The new column stays empty meanwhile, so that the row is updated on its page. The table is
written anew once: a minute for some millions of scopes, in which the projector waits and the saga goes on.

The quarantine is searched by tenant and by the id of a message; it grows with time.
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE provisionings ADD COLUMN trouble text GENERATED ALWAYS AS (
    CASE WHEN outcome IS NOT NULL THEN nullif(outcome, 'converged') WHEN obstacle IS NOT NULL THEN 'waiting'
        WHEN retry_at IS NOT NULL THEN 'tries' ELSE NULL END
) STORED;
DROP INDEX ix_provisionings_unsettled;
CREATE INDEX ix_provisionings_trouble ON provisionings (trouble, tenant_id, kind, key) WHERE trouble IS NOT NULL;
CREATE INDEX quarantine_tenant_idx ON quarantine (tenant_id, number);
CREATE INDEX quarantine_open_rule_idx ON quarantine (rule, number) WHERE state = 'open';
CREATE INDEX quarantine_open_id_idx ON quarantine (id) WHERE state = 'open';
"""

DOWN = """
DROP INDEX quarantine_open_id_idx, quarantine_open_rule_idx, quarantine_tenant_idx;
ALTER TABLE provisionings DROP COLUMN trouble;
CREATE INDEX IF NOT EXISTS ix_provisionings_unsettled ON provisionings (state, tenant_id, kind, key)
    WHERE state <> 'converged';
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
