"""Every call looks for its number, whatever became of that number."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_numbers_e164", "numbers", ["e164"])


def downgrade() -> None:
    op.drop_index("ix_numbers_e164", "numbers")
