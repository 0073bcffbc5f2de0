"""The read models, the outbox, and how far each projection is.

Written out by hand: a migration stays as it was when it was released, whatever becomes of the tables in
projections/. A test compares the two. Only what a handler always knows is NOT NULL, because an upsert of a
few columns must be able to make the row.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE projection_positions (
    name          text,
    bucket        integer,
    position      bigint NOT NULL DEFAULT 0,
    halted_at     timestamptz,
    halted_event  uuid,
    halted_reason text,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, bucket)
) WITH (fillfactor = 20);

CREATE TABLE customers (
    customer_id    text PRIMARY KEY,
    name           text,
    country        text,
    contacts       jsonb,
    administrators jsonb,
    revision       bigint,
    updated_at     timestamptz
);

CREATE TABLE tenant_customers (
    tenant_id   text PRIMARY KEY,
    customer_id text
);
CREATE INDEX ix_tenant_customers_customer_id ON tenant_customers (customer_id);

CREATE TABLE sites_base (
    tenant_id    text PRIMARY KEY,
    customer_id  text,
    site_name    text,
    url          text,
    state        text,
    created_at   timestamptz,
    destroyed_at timestamptz,
    updated_at   timestamptz
);

CREATE TABLE site_products (
    tenant_id text,
    product   text,
    access    text,
    PRIMARY KEY (tenant_id, product)
);

CREATE VIEW sites AS
SELECT
    tenant_id,
    customer_id,
    site_name,
    url,
    state,
    CASE
        WHEN state <> 'open' THEN 'closed'
        WHEN coalesce((
            SELECT bool_and(access = 'open') AS all_open
            FROM site_products WHERE site_products.tenant_id = sites_base.tenant_id
        ), true) THEN 'open'
        WHEN (
            SELECT bool_or(access = 'open') AS any_open
            FROM site_products WHERE site_products.tenant_id = sites_base.tenant_id
        ) THEN 'partial'
        ELSE 'closed'
    END AS access,
    created_at,
    destroyed_at,
    updated_at
FROM sites_base
WHERE state IS NOT NULL;

CREATE TABLE configurations (
    tenant_id    text,
    product      text,
    settings     jsonb,
    organization text,
    updated_at   timestamptz,
    PRIMARY KEY (tenant_id, product)
);

CREATE TABLE identity_users (
    tenant_id  text,
    product    text,
    account_id text,
    name       text,
    email      text,
    roles      jsonb,
    PRIMARY KEY (tenant_id, product, account_id)
);

CREATE TABLE identity_groups (
    tenant_id  text,
    product    text,
    group_name text,
    PRIMARY KEY (tenant_id, product, group_name)
);

CREATE TABLE identity_memberships (
    tenant_id  text,
    product    text,
    group_name text,
    account_id text,
    PRIMARY KEY (tenant_id, product, group_name, account_id)
);

CREATE TABLE identity_permissions (
    tenant_id  text,
    product    text,
    group_name text,
    permission text,
    PRIMARY KEY (tenant_id, product, group_name, permission)
);

CREATE VIEW identities AS
SELECT
    tenant_id,
    product,
    account_id,
    name,
    email,
    roles,
    ARRAY(
        SELECT identity_memberships.group_name
        FROM identity_memberships
        WHERE identity_memberships.tenant_id = identity_users.tenant_id
            AND identity_memberships.product = identity_users.product
            AND identity_memberships.account_id = identity_users.account_id
        ORDER BY identity_memberships.group_name
    ) AS groups,
    ARRAY(
        SELECT DISTINCT identity_permissions.permission
        FROM identity_permissions, identity_memberships
        WHERE identity_memberships.tenant_id = identity_users.tenant_id
            AND identity_memberships.product = identity_users.product
            AND identity_memberships.account_id = identity_users.account_id
            AND identity_permissions.tenant_id = identity_memberships.tenant_id
            AND identity_permissions.product = identity_memberships.product
            AND identity_permissions.group_name = identity_memberships.group_name
        ORDER BY identity_permissions.permission
    ) AS permissions
FROM identity_users;

CREATE TABLE licenses (
    tenant_id  text,
    product    text,
    edition    text,
    users      bigint,
    active     boolean,
    expires_at timestamptz,
    features   jsonb,
    location   text,
    updated_at timestamptz,
    PRIMARY KEY (tenant_id, product)
);

CREATE TABLE placements (
    tenant_id   text,
    family      text,
    region      text,
    shard       text,
    isolation   text,
    database    text,
    schema_name text,
    roles       jsonb,
    updated_at  timestamptz,
    PRIMARY KEY (tenant_id, family)
);
CREATE INDEX ix_placements_shard ON placements (shard);

CREATE TABLE provisionings (
    tenant_id  text,
    kind       text,
    key        text,
    outcome    text,
    obstacle   text,
    state      text GENERATED ALWAYS AS (
        coalesce(outcome, CASE WHEN obstacle IS NULL THEN 'in_progress' ELSE 'waiting' END)
    ) STORED,
    level      text,
    reason     text,
    retry_at   timestamptz,
    updated_at timestamptz,
    PRIMARY KEY (tenant_id, kind, key)
);

CREATE TABLE provisioning_steps (
    tenant_id  text,
    kind       text,
    key        text,
    step       integer,
    state      text,
    direction  text,
    generation bigint,
    attempt    integer,
    reason     text,
    updated_at timestamptz,
    PRIMARY KEY (tenant_id, kind, key, step)
);

CREATE TABLE outbox (
    position   bigint PRIMARY KEY,
    tenant_id  text NOT NULL,
    event_id   uuid NOT NULL,
    type       text NOT NULL,
    payload    text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX ix_outbox_tenant_id_position ON outbox (tenant_id, position);
"""

DOWN = """
DROP VIEW identities, sites; DROP TABLE outbox, provisioning_steps, provisionings, placements, licenses,
identity_permissions, identity_memberships,
    identity_groups, identity_users, configurations, site_products, sites_base, tenant_customers, customers,
    projection_positions;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
