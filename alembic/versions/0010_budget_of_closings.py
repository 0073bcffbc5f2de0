"""What does the destroy guard count of changes that close a product, and how many products live?"""

from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE guarded_facts ADD COLUMN budget text NOT NULL DEFAULT 'destroys'")
    op.execute("ALTER TABLE held_by_guard ADD COLUMN closings bigint NOT NULL DEFAULT 0")
    # By how many they grow, a row a transaction, so that no activation waits for another; some are added up at times.
    op.execute("CREATE TABLE live_products (products bigint NOT NULL)")
    # Of one product the highest revision speaks last; without any, the one that came last does.
    op.execute("""
        WITH spoken AS (
            SELECT originator_id AS stream, originator_version AS version, topic,
                   convert_from(state, 'UTF8')::json -> 'data' AS data
            FROM stored_events
            WHERE topic IN ('tenantry.product-activated', 'tenantry.product-deactivated',
                            'tenantry.tenant-destroyed', 'tenantry.tenant-restored')
        ), last AS (
            SELECT DISTINCT ON (stream, data ->> 'product') stream, topic
            FROM spoken WHERE topic LIKE 'tenantry.product-%'
            ORDER BY stream, data ->> 'product', (data ->> 'revision')::bigint DESC NULLS LAST, version DESC
        ), ended AS (
            SELECT stream FROM spoken WHERE topic LIKE 'tenantry.tenant-%' GROUP BY stream
            HAVING count(*) FILTER (WHERE topic = 'tenantry.tenant-destroyed')
                 > count(*) FILTER (WHERE topic = 'tenantry.tenant-restored')
        )
        INSERT INTO live_products (products)
        SELECT count(*) FROM last
        WHERE topic = 'tenantry.product-activated' AND stream NOT IN (SELECT stream FROM ended)""")
    # Whose tenants may have a closing held: their streams say how much (changes = 0: not counted yet).
    op.execute("""
        INSERT INTO held_by_guard (tenant_id, changes, since)
        SELECT DISTINCT split_part(originator_id, ':', 2), 0, now()
        FROM stored_events WHERE topic = 'tenantry.closing-held'
        ON CONFLICT (tenant_id) DO UPDATE SET changes = 0""")


def downgrade() -> None:
    op.execute("DROP TABLE live_products")
    op.execute("ALTER TABLE held_by_guard DROP COLUMN closings")
    op.execute("DELETE FROM guarded_facts WHERE budget <> 'destroys'")
    op.execute("ALTER TABLE guarded_facts DROP COLUMN budget")
