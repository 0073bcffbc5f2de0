"""What have the provisioners of others replied on Kafka?"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE replies (
            scope       text COLLATE "C" NOT NULL,
            step        integer NOT NULL,
            generation  bigint NOT NULL,
            key         text COLLATE "C" NOT NULL,
            said        text NOT NULL,
            received_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (scope, step)
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE replies")
