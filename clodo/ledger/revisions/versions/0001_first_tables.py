"""The first tables: releases, journal, locks, budget, audit trail, what is live."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "clodo_releases",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("plan_fingerprint", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("finished_at", sa.String(27)),
    )
    op.create_index("clodo_releases_by_target", "clodo_releases", ["target", "created_at"])
    op.create_index("clodo_releases_by_state", "clodo_releases", ["state"])

    op.create_table(
        "clodo_journal",
        sa.Column(
            "sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("release_id", sa.String(40), sa.ForeignKey("clodo_releases.id"), nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("phase", sa.String(20), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        # Without it SQLite gives the number of a removed last entry out again.
        sqlite_autoincrement=True,
    )
    op.create_index("clodo_journal_by_release", "clodo_journal", ["release_id", "sequence"])

    op.create_table(
        "clodo_locks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("fencing", sa.BigInteger, nullable=False),
        sa.Column("host", sa.Text),
        sa.Column("machine", sa.Text),
        sa.Column("pid", sa.BigInteger),
        sa.Column("process_started_at", sa.Text),
        sa.Column("user_name", sa.Text),
        sa.Column("what", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("acquired_at", sa.String(27)),
        sa.Column("expires_at", sa.String(27)),
    )

    op.create_table(
        "clodo_audit",
        sa.Column(
            "sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index("clodo_audit_by_subject", "clodo_audit", ["subject", "sequence"])

    head = op.create_table(
        "clodo_audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "hash": "0" * 64}])

    op.create_table(
        "clodo_live",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("release_id", sa.String(40), nullable=False),
        sa.Column("version_id", sa.Text, nullable=False),
        sa.Column("deployment_id", sa.Text, nullable=False),
        sa.Column("input_hash", sa.Text, nullable=False),
        sa.Column("content_sha256", sa.Text, nullable=False),
        sa.Column("script_etag", sa.Text, nullable=False),
        sa.Column("script_modified_on", sa.Text, nullable=False),
        sa.Column("secrets_fingerprint", sa.Text, nullable=False),
        sa.Column("migrations_digest", sa.Text, nullable=False),
        sa.Column("triggers", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.String(27), nullable=False),
    )

    op.create_table(
        "clodo_budgets",
        sa.Column("user_key", sa.Text, primary_key=True),
        sa.Column("cooldown_until", sa.Double, nullable=False),
    )
    op.create_table(
        "clodo_budget_batches",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("user_key", sa.Text, sa.ForeignKey("clodo_budgets.user_key"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
    )
    op.create_index("clodo_budget_batches_by_user", "clodo_budget_batches", ["user_key", "at"])
