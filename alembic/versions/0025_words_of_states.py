"""A scope's state in the words of the glossary: failed, and on hold.

A projector of the version before that still works meanwhile writes the words before; `tenantry replay rebuild
provisionings` writes all of them anew.
"""

from alembic import op

revision = "0025"
down_revision = "0021"
branch_labels = None
depends_on = None

WORDS = (("given_up", "failed"), ("held", "on_hold"))


def upgrade() -> None:
    for before, after in WORDS:
        _say(before, after)


def downgrade() -> None:
    for before, after in WORDS:
        _say(after, before)


def _say(before: str, after: str) -> None:
    """By the index of the scopes that have not converged."""
    op.execute(
        f"UPDATE provisionings SET outcome = '{after}' WHERE state = '{before}' AND state <> 'converged'"  # noqa: S608 - ours
    )
