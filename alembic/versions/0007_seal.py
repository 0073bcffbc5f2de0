"""What is the log sealed with? Hashes of its events in tiles, and the checkpoints that were signed over them.

A tile holds up to 256 hashes of one level side by side; only the last of a level holds fewer. Those of level 0 are of
the events, and say of which: `last_position`, and `positions`, eight bytes for each, where some in between are missing.
"""

from alembic import op

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE seal_tiles (
            level         integer NOT NULL,
            number        bigint NOT NULL,
            hashes        bytea NOT NULL,
            last_position bigint,
            positions     bytea,
            PRIMARY KEY (level, number)
        )""")
    op.execute("CREATE INDEX seal_tiles_position_idx ON seal_tiles (last_position) WHERE level = 0")
    # Hashes cannot be compressed, and trying would cost more than writing them.
    op.execute("ALTER TABLE seal_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL")
    op.execute("""
        CREATE TABLE seal_checkpoints (
            number  bigserial PRIMARY KEY,
            note    text NOT NULL,
            made_at timestamptz NOT NULL DEFAULT now()
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE seal_checkpoints, seal_tiles")
