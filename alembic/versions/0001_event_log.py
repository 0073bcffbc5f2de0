"""The event log, and what is committed together with it.

`stored_events` has the columns that the eventsourcing library's recorder expects, with text stream names. Everything
else here is written in the same transaction as events: Kafka positions, incoming ids, waiting and quarantined
messages, wake rows and leases of the saga. Data keys lie outside of the log on purpose.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

UP = """
CREATE TYPE stored_event_text AS (originator_id text, originator_version bigint, topic text, state bytea);

CREATE TABLE stored_events (
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    notification_id bigserial NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
) WITH (
    autovacuum_vacuum_insert_threshold = 1000000,
    autovacuum_analyze_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.05
);
CREATE UNIQUE INDEX stored_events_notification_id_idx ON stored_events (notification_id);

CREATE TABLE high_water_mark (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
INSERT INTO high_water_mark (position) VALUES (0);

CREATE TABLE kafka_positions (
    topic_id text NOT NULL,
    partition integer NOT NULL,
    topic text NOT NULL,
    next_offset bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_id, partition)
) WITH (fillfactor = 50);

CREATE TABLE incoming (
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    outcome text NOT NULL,
    duplicates bigint NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, id)
);

CREATE TABLE waiting (
    number bigserial PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    type text NOT NULL,
    digest bytea NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    sealed_body text NOT NULL,
    received_at timestamptz NOT NULL,
    UNIQUE (source, id)
);
CREATE INDEX waiting_tenant_idx ON waiting (tenant_id, number);

CREATE TABLE quarantine (
    number bigserial PRIMARY KEY,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'retried', 'discarded')),
    rule text NOT NULL,
    reason text NOT NULL,
    source text,
    id text,
    type text,
    tenant_id text,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    digest bytea NOT NULL,
    repeats bigint NOT NULL DEFAULT 0,
    sealed_body text NOT NULL,
    received_at timestamptz NOT NULL,
    closed_at timestamptz,
    closed_by text,
    closed_reason text
);
CREATE UNIQUE INDEX quarantine_open_idx ON quarantine (digest) WHERE state = 'open';

CREATE TABLE customer_tenants (
    customer_id text COLLATE "C" NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (customer_id, tenant_id)
);

CREATE TABLE wakes (
    number bigserial PRIMARY KEY,
    scope text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL
);
CREATE INDEX wakes_due_idx ON wakes (due_at, number);
CREATE INDEX wakes_scope_idx ON wakes (scope);

CREATE SEQUENCE lease_tokens;
CREATE TABLE leases (
    scope text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    token bigint NOT NULL DEFAULT nextval('lease_tokens'),
    until timestamptz NOT NULL
);

CREATE TABLE blocked (
    obstacle text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    PRIMARY KEY (obstacle, scope)
);

CREATE TABLE data_keys (
    subject text COLLATE "C" NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    wrapped bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    forgotten_at timestamptz,
    PRIMARY KEY (subject, key_id)
);
CREATE UNIQUE INDEX data_keys_key_id_idx ON data_keys (key_id);
CREATE UNIQUE INDEX data_keys_live_idx ON data_keys (subject) WHERE forgotten_at IS NULL;

CREATE TABLE relay_positions (
    topic_id text PRIMARY KEY,
    position bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workers (
    name text PRIMARY KEY,
    kind text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    state text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL
);
"""

DOWN = """
DROP TABLE relay_positions, workers, data_keys, blocked, leases, wakes, customer_tenants, quarantine, waiting, incoming,
    kafka_positions, high_water_mark, stored_events;
DROP SEQUENCE lease_tokens;
DROP TYPE stored_event_text;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
