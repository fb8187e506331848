"""Which configuration each release used: each content once, however many releases used it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "clodo_configurations",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "clodo_release_configurations",
        sa.Column("release_id", sa.String(40), sa.ForeignKey("clodo_releases.id"), primary_key=True),
        sa.Column("digest", sa.String(64), sa.ForeignKey("clodo_configurations.digest"), nullable=False),
    )
