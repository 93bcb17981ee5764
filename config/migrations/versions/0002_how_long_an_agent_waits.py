"""How long an agent stays on the line in silence for somebody who asked it to hold on."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("agents", sa.Column("longest_wait_seconds", sa.Integer(), nullable=True))
    op.add_column("calls", sa.Column("longest_wait_seconds", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("calls", "longest_wait_seconds")
    op.drop_column("agents", "longest_wait_seconds")
