"""What do the executors reserve in the control database: site names, and room on shards?"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE fences (
            scope      text PRIMARY KEY,
            generation bigint NOT NULL
        )""")
    op.execute("""
        CREATE TABLE shards (
            name     text PRIMARY KEY,
            region   text NOT NULL,
            state    text NOT NULL CHECK (state IN ('open', 'draining', 'closed')),
            capacity integer NOT NULL CHECK (capacity >= 0),
            used     integer NOT NULL DEFAULT 0 CHECK (used >= 0)
        )""")
    op.execute("""
        CREATE TABLE placements_reserved (
            scope       text PRIMARY KEY,
            shard       text NOT NULL REFERENCES shards (name),
            generation  bigint NOT NULL,
            reserved_at timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("CREATE INDEX placements_reserved_by_shard ON placements_reserved (shard)")
    op.execute("""
        CREATE TABLE site_names (
            site_name   text PRIMARY KEY,
            tenant_id   text NOT NULL,
            generation  bigint NOT NULL,
            reserved_at timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("CREATE INDEX site_names_by_tenant ON site_names (tenant_id)")


def downgrade() -> None:
    for table in ("site_names", "placements_reserved", "shards", "fences"):
        op.execute(f"DROP TABLE {table}")
