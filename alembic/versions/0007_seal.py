"""What is the log sealed with? Hashes of its events in tiles, and the checkpoints that were signed over them.

A tile holds up to 256 hashes of one level, side by side; only the last of a level holds fewer. At level 0 they are the
events' own, and the tile says which positions they are of: `positions` is NULL where no position between the first and
the last is missing, and else eight bytes for each. Docs: docs/adr/0010-the-log-is-sealed.md.
"""

from alembic import op

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE seal_tiles (
            level          integer NOT NULL,
            number         bigint NOT NULL,
            first_position bigint NOT NULL,
            last_position  bigint NOT NULL,
            positions      bytea,
            hashes         bytea NOT NULL,
            PRIMARY KEY (level, number)
        )""")
    op.execute("CREATE INDEX seal_tiles_position_idx ON seal_tiles (last_position) WHERE level = 0")
    # Hashes cannot be compressed, and trying costs more than the rest of the write.
    op.execute("ALTER TABLE seal_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL")
    op.execute("""
        CREATE TABLE seal_checkpoints (
            number   bigserial PRIMARY KEY,
            size     bigint NOT NULL,
            position bigint NOT NULL,
            note     text NOT NULL,
            made_at  timestamptz NOT NULL DEFAULT now()
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE seal_checkpoints, seal_tiles")
