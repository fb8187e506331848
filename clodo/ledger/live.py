"""What is live at each target, as far as we deployed it: the memory that makes "unchanged" cheap to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update

from clodo.ledger.database import Database, insert_unless_there
from clodo.ledger.schema import live as table


@dataclass(frozen=True, slots=True)
class Live:
    """
    What we last deployed to a target.

    Attributes:
        release_id: The release that did it.

        version_id, deployment_id: Cloudflare's.

        input_hash: Of everything that goes into a release (`clodo.workspace.input_hash`).

        content_sha256: Of what was uploaded; also in the version's tag.

        script_etag, script_modified_on: As the list of scripts gave them right after the deployment.

        secrets_fingerprint: Keyed (`clodo.ledger.fingerprints`), so it says "same" or "other" and nothing else.

        triggers: Routes, domains, schedules, subdomain and script settings as they were verified.

        migrations_digest: `clodo.migrations.digest` of what was applied.

        recorded_at: UTC.
    """

    target: str
    release_id: str
    version_id: str
    deployment_id: str
    input_hash: str
    content_sha256: str
    script_etag: str
    script_modified_on: str
    secrets_fingerprint: str
    migrations_digest: str
    recorded_at: datetime
    triggers: Mapping[str, Any] = field(default_factory=dict)


class LiveTargets:
    """What is live, target by target."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, target: str) -> Live | None:
        """Return what we last deployed to *target*; None when we never did."""
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.target == target)).one_or_none()
        return None if row is None else Live(**row._mapping)

    def put(self, live: Live) -> None:
        """Record what is live at a target now, in place of what was."""
        values = {field.name: getattr(live, field.name) for field in fields(live)}
        with self._database.write() as connection:
            # First the row's own lock, so that two writers of one new target don't both insert.
            connection.execute(insert_unless_there(connection, table).values(values))
            connection.execute(update(table).where(table.c.target == live.target).values(values))

    def forget(self, target: str) -> None:
        """Forget what is live at *target*, because it was deleted or can no longer be trusted."""
        with self._database.write() as connection:
            connection.execute(delete(table).where(table.c.target == target))

    def all(self) -> Sequence[Live]:
        """Return what is live everywhere, by target name."""
        with self._database.read() as connection:
            rows = [Live(**row._mapping) for row in connection.execute(select(table))]
        return sorted(rows, key=lambda live: live.target)
