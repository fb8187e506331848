"""Which configuration each release used, without secrets; each content is kept once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from clodo.errors import BadUsage
from clodo.ledger.database import Database, insert_unless_there
from clodo.ledger.schema import configurations, release_configurations

MAX_CONTENT_BYTES = 1024 * 1024
"""Cloudflare takes no more of a version's settings; whatever is larger was never released."""


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, as 64 hex digits; the order of keys doesn't matter."""
    return hashlib.sha256(_text(content).encode()).hexdigest()


class Configurations:
    """The configurations of releases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, release_id: str, content: Mapping[str, Any]) -> str:
        """
        Remember that a release used *content*, which holds no secret; return its digest.

        Saying it twice changes nothing.

        Raises:
            BadUsage: It is no JSON, or larger than MAX_CONTENT_BYTES.
        """
        text = _text(content)
        if len(text.encode()) > MAX_CONTENT_BYTES:
            raise BadUsage(f"configuration of release {release_id}: over the limit of {MAX_CONTENT_BYTES:,} bytes")
        digest = digest_of(content)
        with self._database.write() as connection:
            connection.execute(insert_unless_there(connection, configurations).values(digest=digest, content=text))
            row = {"release_id": release_id, "digest": digest}
            connection.execute(insert_unless_there(connection, release_configurations).values(row))
        return digest

    def get(self, release_id: str) -> Mapping[str, Any] | None:
        """Return what a release used; None when nobody wrote it down."""
        query = (
            select(configurations.c.content)
            .join(release_configurations, release_configurations.c.digest == configurations.c.digest)
            .where(release_configurations.c.release_id == release_id)
        )
        with self._database.read() as connection:
            text = connection.execute(query).scalar_one_or_none()
        return None if text is None else dict(json.loads(text))

    def digests(self, release_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the digest of each release's configuration, as far as it was written down."""
        query = select(release_configurations).where(release_configurations.c.release_id.in_(list(release_ids)))
        with self._database.read() as connection:
            return {row.release_id: row.digest for row in connection.execute(query)}


def _text(content: Mapping[str, Any]) -> str:
    try:
        return json.dumps(
            dict(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str
        )
    except (TypeError, ValueError) as error:
        raise BadUsage(f"a configuration must be JSON: {error}") from error
