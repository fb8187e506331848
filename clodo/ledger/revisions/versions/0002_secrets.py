"""How old secrets are, by keyed fingerprint, and how their rotations stand."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "clodo_secrets",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("made_at", sa.String(27), nullable=False),
        sa.Column("live_fingerprint", sa.Text, nullable=False),
        sa.Column("live_at", sa.String(27)),
    )
    op.create_table(
        "clodo_rotations",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("old_fingerprint", sa.Text, nullable=False),
        sa.Column("new_fingerprint", sa.Text, nullable=False),
        sa.Column("begun_at", sa.String(27), nullable=False),
        sa.Column("retire_at", sa.String(27)),
        sa.Column("ended_at", sa.String(27)),
    )
    op.create_index("clodo_rotations_by_state", "clodo_rotations", ["state"])
