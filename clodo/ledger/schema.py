"""The ledger's tables; `revisions` holds the steps that make them, a test that both agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

from clodo.errors import BadUsage
from clodo.ledger.clocks import from_text, to_text

MAX_DETAIL_BYTES = 16_384
"""A detail says what is needed to undo or to explain; content belongs elsewhere."""

REVISION_TABLE = "clodo_ledger_revision"
"""Not Alembic's default: a team may keep the ledger in the database that Prefect keeps its own revisions in."""


def canonical(value: Mapping[str, Any] | None, *, what: str = "detail") -> str:
    """
    Write a JSON object in the one way that is hashed: sorted keys, no blanks, no NaN.

    Raises:
        BadUsage: It isn't JSON, or larger than MAX_DETAIL_BYTES.
    """
    try:
        text = json.dumps(dict(value or {}), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise BadUsage(f"{what}: not JSON: {error}") from error
    if size > MAX_DETAIL_BYTES:
        raise BadUsage(f"{what}: {size:,} bytes, over the {MAX_DETAIL_BYTES:,} that the ledger keeps of one")
    return text


class Moment(TypeDecorator[datetime]):
    """A moment as ISO 8601 text in UTC: the same on every database, and it sorts."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Write it."""
        return None if value is None else to_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """Read it."""
        return None if value is None else from_text(value)


class Document(TypeDecorator[Mapping[str, Any]]):
    """A small JSON object, kept as its canonical text so that hashes over it are the same on every database."""

    impl = Text()
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, Any] | None, dialect: Dialect) -> str:
        """Write it."""
        return canonical(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Mapping[str, Any]:
        """Read it."""
        return {} if value is None else dict(json.loads(value))


Counter = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up only in a column that is declared INTEGER."""

metadata = MetaData()

releases = Table(
    "clodo_releases",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("target", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("plan_fingerprint", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("state", String(20), nullable=False),
    Column("finished_at", Moment),
    Index("clodo_releases_by_target", "target", "created_at"),
    Index("clodo_releases_by_state", "state"),
)

journal = Table(
    "clodo_journal",
    metadata,
    Column("sequence", Counter, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("release_id", String(40), ForeignKey("clodo_releases.id"), nullable=False),
    Column("step", Text, nullable=False),
    Column("phase", String(20), nullable=False),
    Column("at", Moment, nullable=False),
    Column("detail", Document, nullable=False),
    Index("clodo_journal_by_release", "release_id", "sequence"),
)

locks = Table(
    "clodo_locks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("fencing", BigInteger, nullable=False),
    Column("host", Text),
    Column("machine", Text),
    Column("pid", BigInteger),
    Column("process_started_at", Text),
    Column("user_name", Text),
    Column("what", Text),
    Column("reason", Text),
    Column("acquired_at", Moment),
    Column("expires_at", Moment),
)

audit = Table(
    "clodo_audit",
    metadata,
    Column("sequence", Counter, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("clodo_audit_by_subject", "subject", "sequence"),
)

audit_head = Table(
    "clodo_audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)

live = Table(
    "clodo_live",
    metadata,
    Column("target", Text, primary_key=True),
    Column("release_id", String(40), nullable=False),
    Column("version_id", Text, nullable=False),
    Column("deployment_id", Text, nullable=False),
    Column("input_hash", Text, nullable=False),
    Column("content_sha256", Text, nullable=False),
    Column("script_etag", Text, nullable=False),
    Column("script_modified_on", Text, nullable=False),
    Column("secrets_fingerprint", Text, nullable=False),
    Column("migrations_digest", Text, nullable=False),
    Column("triggers", Document, nullable=False),
    Column("recorded_at", Moment, nullable=False),
)

budgets = Table(
    "clodo_budgets",
    metadata,
    Column("user_key", Text, primary_key=True),
    Column("cooldown_until", Double, nullable=False),
)

budget_batches = Table(
    "clodo_budget_batches",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("user_key", Text, ForeignKey("clodo_budgets.user_key"), nullable=False),
    Column("at", Double, nullable=False),
    Column("requests", Integer, nullable=False),
    Index("clodo_budget_batches_by_user", "user_key", "at"),
)

secrets = Table(
    "clodo_secrets",
    metadata,
    Column("target", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("live_fingerprint", Text, nullable=False),
    Column("live_at", Moment),
)

rotations = Table(
    "clodo_rotations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("target", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("old_fingerprint", Text, nullable=False),
    Column("new_fingerprint", Text, nullable=False),
    Column("begun_at", Moment, nullable=False),
    Column("retire_at", Moment),
    Column("ended_at", Moment),
    Index("clodo_rotations_by_state", "state"),
)

configurations = Table(
    "clodo_configurations",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("content", Text, nullable=False),
)

release_configurations = Table(
    "clodo_release_configurations",
    metadata,
    Column("release_id", String(40), ForeignKey("clodo_releases.id"), primary_key=True),
    Column("digest", String(64), ForeignKey("clodo_configurations.digest"), nullable=False),
)

snapshots = Table(
    "clodo_snapshots",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("vault", String(200), primary_key=True),
    Column("portfolio", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("is_good", Boolean, nullable=False),
    Column("is_whole", Boolean, nullable=False),
    Column("exactness", String(20), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("own_size", BigInteger, nullable=False),
    Column("archives", Integer, nullable=False),
    Column("missing", Integer, nullable=False),
    Column("verified_at", Moment),
    Column("verified_level", String(20)),
    Column("found_wrong", Text),
    Index("clodo_snapshots_by_portfolio", "portfolio", "created_at"),
)

zone_lists = Table(
    "clodo_zone_lists",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("content", Text, nullable=False),
    Column("read_at", Moment, nullable=False),
)

drills = Table(
    "clodo_drills",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("portfolio", Text, nullable=False),
    Column("snapshot", String(40), nullable=False),
    Column("vault", String(200), nullable=False),
    Column("at", Moment, nullable=False),
    Column("is_good", Boolean, nullable=False),
    Column("rto_seconds", Double, nullable=False),
    Column("rpo_seconds", Double, nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("problem", Text),
    Index("clodo_drills_by_portfolio", "portfolio", "at"),
)
