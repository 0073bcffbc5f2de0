"""Limits between processes, and service keys among the contexts: the keys are those of the log so far."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE export_budgets (
    grant_id text COLLATE "C" PRIMARY KEY,
    rows_spent bigint NOT NULL DEFAULT 0 CHECK (rows_spent >= 0),
    bytes_spent bigint NOT NULL DEFAULT 0 CHECK (bytes_spent >= 0)
) WITH (fillfactor = 50);

CREATE TABLE export_chunks (
    grant_id text COLLATE "C" NOT NULL REFERENCES export_budgets,
    chunk_id uuid NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (grant_id, chunk_id)
);

CREATE TABLE rate_limits (
    name text COLLATE "C" PRIMARY KEY,
    next_us bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE context_service_keys (
    key_id text COLLATE "C" PRIMARY KEY,
    public_key text,
    position bigint NOT NULL
);
CREATE INDEX context_service_keys_position_idx ON context_service_keys (position);

INSERT INTO context_service_keys
SELECT DISTINCT ON (data ->> 'key_id') data ->> 'key_id', data ->> 'public_key', notification_id FROM (
    SELECT notification_id, convert_from(state, 'UTF8')::jsonb -> 'data' AS data
    FROM stored_events WHERE originator_id = 'service-keys:'
) AS events ORDER BY data ->> 'key_id', notification_id DESC;
"""


def upgrade() -> None:
    for statement in UP.split(";"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for table in ("context_service_keys", "rate_limits", "export_chunks", "export_budgets"):
        op.execute(f"DROP TABLE {table}")
