"""Drills of backups: whether they passed, and how long they took."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "clodo_drills",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("portfolio", sa.Text, nullable=False),
        sa.Column("snapshot", sa.String(40), nullable=False),
        sa.Column("vault", sa.String(200), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("is_good", sa.Boolean, nullable=False),
        sa.Column("rto_seconds", sa.Double, nullable=False),
        sa.Column("rpo_seconds", sa.Double, nullable=False),
        sa.Column("items", sa.BigInteger, nullable=False),
        sa.Column("problem", sa.Text),
    )
    op.create_index("clodo_drills_by_portfolio", "clodo_drills", ["portfolio", "at"])
