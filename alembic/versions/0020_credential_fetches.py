"""Which service was given the password of which login role, and when? Rows are only ever added."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE credential_fetches (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    caller     text NOT NULL,
    tenant_id  text NOT NULL,
    product    text NOT NULL,
    role       text NOT NULL,
    generation bigint NOT NULL,
    rotation   bigint NOT NULL,
    token_id   text NOT NULL
);
CREATE INDEX credential_fetches_tenant_idx ON credential_fetches (tenant_id, number);

CREATE FUNCTION credential_fetches_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'credential_fetches is append-only';
END $$;
CREATE TRIGGER credential_fetches_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON credential_fetches
    FOR EACH STATEMENT EXECUTE FUNCTION credential_fetches_are_kept();
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE credential_fetches; DROP FUNCTION credential_fetches_are_kept")
