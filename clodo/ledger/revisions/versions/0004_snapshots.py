"""Which snapshots are in which vault, and when each was last proven."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "clodo_snapshots",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("vault", sa.String(200), primary_key=True),
        sa.Column("portfolio", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("is_good", sa.Boolean, nullable=False),
        sa.Column("is_whole", sa.Boolean, nullable=False),
        sa.Column("exactness", sa.String(20), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("own_size", sa.BigInteger, nullable=False),
        sa.Column("archives", sa.Integer, nullable=False),
        sa.Column("missing", sa.Integer, nullable=False),
        sa.Column("verified_at", sa.String(27)),
        sa.Column("verified_level", sa.String(20)),
        sa.Column("found_wrong", sa.Text),
    )
    op.create_index("clodo_snapshots_by_portfolio", "clodo_snapshots", ["portfolio", "created_at"])
