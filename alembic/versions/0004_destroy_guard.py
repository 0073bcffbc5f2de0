"""What does the destroy guard count, and what does it hold?"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE destroy_guard (
            only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
            at        timestamptz NOT NULL DEFAULT 'epoch',
            destroyed bigint NOT NULL
        )""")
    op.execute("""
        INSERT INTO destroy_guard (destroyed)
        SELECT count(*) FILTER (WHERE topic = 'tenantry.tenant-destroyed')
             - count(*) FILTER (WHERE topic = 'tenantry.tenant-restored')
        FROM stored_events""")
    op.execute("""
        CREATE TABLE guarded_facts (
            at    timestamptz NOT NULL,
            facts bigint NOT NULL
        )""")
    op.execute("""
        CREATE TABLE held_by_guard (
            tenant_id text PRIMARY KEY,
            changes   bigint NOT NULL,
            since     timestamptz NOT NULL
        )""")
    # Whose tenants may have something held: their streams say how much (changes = 0: not counted yet).
    op.execute("""
        INSERT INTO held_by_guard (tenant_id, changes, since)
        SELECT DISTINCT split_part(originator_id, ':', 2), 0, now()
        FROM stored_events WHERE topic = 'tenantry.change-held'""")


def downgrade() -> None:
    for table in ("held_by_guard", "guarded_facts", "destroy_guard"):
        op.execute(f"DROP TABLE {table}")
