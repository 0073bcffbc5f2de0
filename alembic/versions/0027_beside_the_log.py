"""What lies beside the log is found however much of it lies there: closed messages by their state, all by their offset.

The messages of the quarantine that were retried or discarded grow with time, and a page of the discarded ones read all
that were retried to find them; closing a message writes this index, an open one is not in it.

Messages in quarantine and those that wait for their tenant come in floods, and a search for one by its place on Kafka
read all of them. Offsets ascend nearly as rows do: an index of ranges of pages finds them, and costs a row next to
nothing.
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

UP = """
CREATE INDEX IF NOT EXISTS quarantine_closed_idx ON quarantine (state, number) WHERE state <> 'open';
CREATE INDEX IF NOT EXISTS quarantine_offset_idx ON quarantine USING brin ("offset")
    WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX IF NOT EXISTS waiting_offset_idx ON waiting USING brin ("offset")
    WITH (pages_per_range = 16, autosummarize = on);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS waiting_offset_idx, quarantine_offset_idx, quarantine_closed_idx")
