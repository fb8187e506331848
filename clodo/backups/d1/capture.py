"""Capturing a database: read until two bookmarks prove that it stood still meanwhile, or say that it did not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clodo.backups.archive import seal
from clodo.backups.d1.dump import Dump
from clodo.backups.d1.exporting import MayExport, exported
from clodo.backups.d1.layout import Query
from clodo.backups.manifest import Archive, Exactness, Kind
from clodo.backups.resources import Captured, Recipients
from clodo.cloudflare.client import Cloudflare
from clodo.errors import ApiRefused

PASSES = 3


@dataclass(slots=True)
class DatabaseResource:
    """
    A D1 database.

    Attributes:
        cloudflare: A view in the backup lane.

        passes: How often it is read at most while others write to it.

        may_export: Asked before it is exported instead of read by pages; None when nobody wants that.

        say: Gets a line for a person.
    """

    cloudflare: Cloudflare
    id: str
    name: str
    targets: tuple[str, ...] = ()
    passes: int = PASSES
    may_export: MayExport | None = None
    say: Callable[[str], None] = lambda line: None
    kind: Kind = Kind.D1
    _requests: int = 0

    @property
    def account_id(self) -> str:
        """Where it is."""
        return self.cloudflare.account_id

    def is_unchanged_since(self, archive: Archive) -> bool:
        """Compare bookmarks: they differ as soon as anybody wrote."""
        return archive.exactness is Exactness.EXACT and archive.facts.get("bookmark_after") == self._bookmark()

    def capture(self, target: Path, recipients: Recipients, kept: Collection[str] = ()) -> Captured:
        """Read all tables, again while others write, at most *passes* times; by export where that is wanted."""
        self._requests = 0
        number = 0
        while True:
            number += 1
            before = self._bookmark()
            with self._reader(target.parent) as (way, query):
                dump = Dump.of(query)
                sealed = seal(dump, target, recipients)
            after = self._bookmark()
            if before == after or number >= self.passes:
                break
        facts = {
            "bookmark_before": before,
            "bookmark_after": after,
            "schema_sha256": dump.layout.schema_sha256,
            "tables": {name: table.to_json() for name, table in dump.tables.items()},
            "left_out": [{"name": name, "why": why} for name, why in dump.layout.left_out],
            "passes": number,
            "read_by": way,
        }
        return Captured(sealed, Exactness.EXACT if before == after else Exactness.FUZZY, self._requests, facts)

    @contextmanager
    def _reader(self, folder: Path) -> Iterator[tuple[str, Query]]:
        """Give how the database is read this time, ``export`` or ``pages``, and what reads it."""
        with ExitStack() as stack:
            query: Query = self._query
            way = "pages"
            if self.may_export is not None and self.may_export():
                self.say(f"d1/{self.name}: exporting; it answers nobody until that is done")
                self._requests += 2
                try:
                    query = stack.enter_context(exported(self.cloudflare.d1, self.id, folder, self._query))
                    way = "export"
                except ApiRefused as error:
                    self.say(f"d1/{self.name}: read by pages instead: {error.message}")
            elif self.may_export is not None:
                self.say(f"d1/{self.name}: read by pages instead: the window for exports has closed")
            yield way, query

    def _bookmark(self) -> str:
        self._requests += 1
        return self.cloudflare.d1.bookmark(self.id)

    def _query(self, statements: Sequence[str]) -> Sequence[Sequence[Sequence[Any]]]:
        self._requests += 1
        answers = self.cloudflare.d1.raw(self.id, ";\n".join(statements), only_reads=True)
        return [answer.results.rows for answer in answers]
