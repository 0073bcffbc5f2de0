"""Which plans of orphans were shown to somebody, and how far is the background sweep?"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE orphan_plans (
            plan      text PRIMARY KEY,
            things    jsonb NOT NULL,
            listed_at timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("""
        CREATE TABLE sweeps (
            only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
            started_at  timestamptz,
            finished_at timestamptz NOT NULL DEFAULT now(),
            after       text COLLATE "C" NOT NULL DEFAULT '',
            tenants     bigint NOT NULL DEFAULT 0,
            handed_over bigint NOT NULL DEFAULT 0,
            looked_at   jsonb NOT NULL DEFAULT '{}',
            absent      jsonb NOT NULL DEFAULT '{}',
            silent      jsonb NOT NULL DEFAULT '{}',
            stopped_at  timestamptz,
            reason      text
        )""")
    op.execute("INSERT INTO sweeps DEFAULT VALUES")


def downgrade() -> None:
    for table in ("sweeps", "orphan_plans"):
        op.execute(f"DROP TABLE {table}")
