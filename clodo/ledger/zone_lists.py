"""Which zones a token saw when somebody last looked; what it saw is public, the token isn't here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from clodo.ledger.database import Database, insert_unless_there
from clodo.ledger.schema import zone_lists as table


class ZoneLists:
    """What tokens saw, by a key that tells them apart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str, *, since: datetime) -> tuple[Mapping[str, Any], datetime] | None:
        """Return what was seen and when; None when that was before *since*, or never."""
        query = select(table.c.content, table.c.read_at).where(table.c.key == key, table.c.read_at >= since)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (dict(json.loads(row.content)), row.read_at)

    def put(self, key: str, content: Mapping[str, Any], read_at: datetime) -> None:
        """Remember what was seen, in place of what was."""
        text = json.dumps(dict(content), separators=(",", ":"), ensure_ascii=False)
        values = {"key": key, "content": text, "read_at": read_at}
        with self._database.write() as connection:
            connection.execute(insert_unless_there(connection, table).values(values))
            connection.execute(update(table).where(table.c.key == key).values(values))
