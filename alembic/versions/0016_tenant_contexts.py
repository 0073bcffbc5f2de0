"""Tenant contexts: a document a tenant, the hosts, and the identity of the log that they are told of."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE contexts (
    tenant_id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    document bytea,
    halted text
) WITH (fillfactor = 80);
CREATE INDEX contexts_version_idx ON contexts (version);
CREATE INDEX contexts_halted_idx ON contexts (tenant_id) WHERE halted IS NOT NULL;

CREATE TABLE context_hosts (
    host text COLLATE "C" PRIMARY KEY,
    tenant_id text COLLATE "C",
    position bigint NOT NULL
);
CREATE INDEX context_hosts_position_idx ON context_hosts (position);

CREATE TABLE context_log (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    log uuid NOT NULL DEFAULT gen_random_uuid(),
    epoch integer NOT NULL DEFAULT 1,
    position bigint NOT NULL DEFAULT 0,
    basis text NOT NULL DEFAULT '',
    swept_after text,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
INSERT INTO context_log DEFAULT VALUES;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE contexts, context_hosts, context_log")
