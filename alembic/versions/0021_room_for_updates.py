"""Room on each page of the read models whose rows are written again and again: an update then writes no index.

Only pages that are written from now on leave it; a rebuild of a read model writes all of them anew.
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

TABLES = (
    *("sites_base", "site_products", "configurations", "licenses", "placements"),
    *("provisionings", "provisioning_steps"),
)


def upgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 90)")


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
