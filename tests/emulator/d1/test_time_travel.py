"""Time Travel: whatever happens to a database, each bookmark leads to exactly the rows that were there."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from clodo.emulator.d1.limits import Limits
from clodo.emulator.d1.store import Databases
from clodo.emulator.envelope import ApiError
from clodo.emulator.runtime.ports import Statement, StatementFailed
from tests.emulator.d1.conftest import ACCOUNT, Clock, rows

Content = frozenset[tuple[Any, ...]]

#: Small generations and short chains, so that a few steps make many of them; restores without a limit.
LIMITS = Limits(generation_bytes=30_000, replayed_generations=3, restores=10**9)


class Travels(RuleBasedStateMachine):
    """Random writes, failures, restores, restarts and kills, against a model: the content at each bookmark."""

    bookmarks = Bundle("bookmarks")

    @initialize(target=bookmarks)
    def begin(self) -> str:
        """Make an empty database."""
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.root = Path(tempfile.mkdtemp(prefix="travels-"))
        self.folder = self.root / "0"
        self.starts = 0
        self.store = Databases(self.folder, now=self.clock, limits=LIMITS)
        self.database = self.store.create(ACCOUNT, "shop")
        self.content: dict[str, Content] = {}
        self.timeline: list[tuple[float, str]] = [(self.clock.seconds, self.wait(self.store.bookmark(self.database)))]
        self.committed_at = self.clock.seconds
        self.clock.seconds += 1
        self.current: Content = frozenset()
        self.wait(self.query("CREATE TABLE t(id INTEGER PRIMARY KEY, v, pad)"))
        return self.note()

    def wait(self, coroutine: Any) -> Any:
        """Run a coroutine to its end."""
        return self.runner.run(coroutine)

    async def query(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run one text."""
        return await rows(self.store, self.database, sql, *params)

    def note(self) -> str:
        """Remember what is there now under its bookmark."""
        bookmark: str = self.wait(self.store.bookmark(self.database))
        if bookmark != self.timeline[-1][1]:
            self.committed_at = self.clock.seconds
        self.content[bookmark] = self.current
        self.timeline.append((self.clock.seconds, bookmark))
        return bookmark

    @rule(
        target=bookmarks,
        writes=st.lists(
            st.tuples(st.integers(1, 12), st.one_of(st.none(), st.integers(0, 99)), st.integers(0, 9000)),
            min_size=1,
            max_size=4,
        ),
    )
    def write(self, writes: list[tuple[int, int | None, int]]) -> str:
        """Set or delete some rows in one transaction."""
        self.clock.seconds += 1
        statements, content = [], {row[0]: row for row in self.current}
        for key, value, pad in writes:
            if value is None:
                statements.append(Statement("DELETE FROM t WHERE id = ?", [key]))
                content.pop(key, None)
            else:
                statements.append(Statement("INSERT OR REPLACE INTO t VALUES(?, ?, zeroblob(?))", [key, value, pad]))
                content[key] = (key, value, pad)
        before = self.wait(self.store.bookmark(self.database))
        _, bookmark = self.wait(self.store.query(self.database, statements))
        assert bookmark >= before
        self.current = frozenset(content.values())
        assert self.note() == bookmark
        return bookmark

    @rule()
    def fail(self) -> None:
        """A call that fails changes neither rows nor the bookmark."""
        self.clock.seconds += 1
        with pytest.raises(StatementFailed):
            self.wait(self.query("INSERT OR REPLACE INTO t VALUES(1, 0, zeroblob(9000)); SELECT nope"))
        assert self.wait(self.store.bookmark(self.database)) == self.timeline[-1][1]

    @rule(target=bookmarks, bookmark=bookmarks)
    def restore(self, bookmark: str) -> Any:
        """Go to any state ever noted: exactly its rows are there, and the state before can be returned to."""
        self.clock.seconds += 1
        after, before = self.wait(self.store.restore(self.database, bookmark=bookmark))
        assert before == self.timeline[-1][1]
        assert after > before
        assert self.content.setdefault(before, self.current) == self.current
        self.current = self.content[bookmark]
        assert self.note() == after
        return multiple(after, before)

    @rule(data=st.data())
    def look_up_a_time(self, data: st.DataObject) -> None:
        """The bookmark of a time is that of the last state at or before it."""
        at = data.draw(st.integers(int(self.timeline[0][0]), int(self.clock.seconds)))
        expected = [bookmark for noted, bookmark in self.timeline if noted <= at][-1]
        found = self.wait(self.store.bookmark(self.database, datetime.fromtimestamp(at, UTC)))
        assert found == expected

    @rule()
    def restart(self) -> None:
        """Close everything and open it again."""
        self.wait(self.store.close())
        self._open(self.folder)

    @rule(lost=st.integers(0, 16), torn=st.booleans())
    def kill(self, lost: int, torn: bool) -> None:
        """
        Go on with what a kill -9 leaves: the files as they are now.

        A kill between a commit and the note of it loses the note, or tears it: *lost* bytes.
        """
        if self.committed_at < self.clock.seconds:
            lost = 0  # the last commit was noted long ago
        self.starts += 1
        copy = self.root / str(self.starts)
        shutil.copytree(self.folder, copy)
        self.wait(self.store.close())
        lists = sorted((copy / self.database.uuid).glob("*.commits"))
        content = lists[-1].read_bytes()
        lists[-1].write_bytes(content[: max(32, len(content) - lost)] + (b"torn" if torn else b""))
        (copy / self.database.uuid / "ffffffff.building").write_bytes(b"half made")
        self.folder = copy
        self._open(copy)

    def _open(self, folder: Path) -> None:
        self.store = Databases(folder, now=self.clock, limits=LIMITS)
        self.database = self.store.find(ACCOUNT, "shop")

    @invariant()
    def the_rows_are_the_models(self) -> None:
        """What is there is what the model says, under the bookmark it has."""
        found = self.wait(self.query("SELECT id, v, length(pad) FROM t"))
        assert frozenset(found) == self.current
        assert self.wait(self.store.bookmark(self.database)) == self.timeline[-1][1]

    def teardown(self) -> None:
        """At the end every bookmark is tried once more."""
        if not hasattr(self, "store"):
            return
        try:
            for bookmark, content in self.content.items():
                self.wait(self.store.restore(self.database, bookmark=bookmark))
                found = self.wait(self.query("SELECT id, v, length(pad) FROM t"))
                assert frozenset(found) == content, bookmark
        finally:
            self.wait(self.store.close())
            self.runner.close()
            shutil.rmtree(self.root)


# Without shrinking: an example writes files, and a thousand of them take longer than a person waits.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)

TestTravels = Travels.TestCase
TestTravels.settings = settings(
    max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), phases=_PHASES
)


class _LongTravels(Travels):
    """The same, long."""


TestLongTravels = pytest.mark.exhaustive(_LongTravels.TestCase)
TestLongTravels.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), phases=_PHASES
)


async def test_a_restore_goes_back_and_can_be_undone(databases: Databases, clock: Clock):
    """A restored database has the old rows; the previous bookmark brings the new ones back."""
    database = databases.create(ACCOUNT, "shop")
    await rows(databases, database, "CREATE TABLE t(a); INSERT INTO t VALUES('kept')")
    good = await databases.bookmark(database)
    await rows(databases, database, "DELETE FROM t")

    after, before = await databases.restore(database, bookmark=good)
    restored = await rows(databases, database, "SELECT * FROM t")
    await databases.restore(database, bookmark=before)
    undone = await rows(databases, database, "SELECT * FROM t")

    assert restored == [("kept",)]
    assert undone == []
    assert good < before < after


async def test_a_time_without_a_commit_leads_to_the_one_before(databases: Databases, clock: Clock):
    """A timestamp means the last state at or before it, from the moment of creation on."""
    database = databases.create(ACCOUNT, "shop")
    empty = await databases.bookmark(database)
    clock.seconds += 100
    await rows(databases, database, "CREATE TABLE t(a)")
    made = await databases.bookmark(database)

    def at(seconds: float) -> datetime:
        return datetime.fromtimestamp(clock.seconds + seconds, UTC)

    assert await databases.bookmark(database, at(-100)) == empty
    assert await databases.bookmark(database, at(-0.001)) == empty
    assert await databases.bookmark(database, at(0)) == made
    assert await databases.bookmark(database, at(1000)) == made
    with pytest.raises(ApiError, match="no state of the database at or before"):
        await databases.bookmark(database, at(-101))


async def test_bookmarks_look_like_cloudflares_and_sort_by_time(small: Databases, clock: Clock):
    """Four groups of hexadecimal digits, the third the day since 1970, each greater than the one before."""
    database = small.create(ACCOUNT, "shop")
    seen = [await small.bookmark(database)]
    for _ in range(40):
        clock.seconds += 3600
        await rows(small, database, "CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(zeroblob(3000))")
        seen.append(await small.bookmark(database))

    assert seen == sorted(set(seen))
    assert all([len(part) for part in bookmark.split("-")] == [8, 8, 8, 32] for bookmark in seen)
    assert int(seen[-1].split("-")[2], 16) == int(clock.seconds) // 86400
    assert int(seen[-1].split("-")[0], 16) > 2  # generations began in between


async def test_reading_leaves_the_bookmark_alone(small: Databases):
    """Nobody wrote, so the bookmark is the same: also across selects, empty updates, a new generation, a restart."""
    database = small.create(ACCOUNT, "shop")
    await rows(small, database, "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(90000))")
    bookmark = await small.bookmark(database)

    await rows(small, database, "SELECT * FROM t")
    await rows(small, database, "UPDATE t SET a = 1 WHERE 0")
    await small.opened(database).call(lambda: None)
    generation = await small.opened(database).call(lambda: small.opened(database).history.generation)

    assert generation == 1  # the log was too long
    assert await small.bookmark(database) == bookmark
    _, before = await small.restore(database, bookmark=bookmark)
    assert before == bookmark


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "nonsense",
        "00000000-00000002-00005129-00000000000000000000000000000000",
        "00000000-00000002-00005129-9AEBCEF93F68A1FEB620A070B1579626",
    ],
)
async def test_made_up_bookmarks_are_refused(databases: Databases, forged: str):
    """A bookmark that the database never gave out is a 400, and nothing happens."""
    database = databases.create(ACCOUNT, "shop")
    before = await databases.bookmark(database)

    with pytest.raises(ApiError, match="Invalid bookmark") as refusal:
        await databases.restore(database, bookmark=forged)

    assert refusal.value.status == 400
    assert await databases.bookmark(database) == before


async def test_another_databases_bookmark_is_refused(databases: Databases):
    """Bookmarks are checked with the database's own key."""
    one, two = databases.create(ACCOUNT, "one"), databases.create(ACCOUNT, "two")
    await rows(databases, one, "CREATE TABLE t(a)")
    await rows(databases, two, "CREATE TABLE t(a)")

    with pytest.raises(ApiError, match="Invalid bookmark"):
        await databases.restore(one, bookmark=await databases.bookmark(two))


async def test_an_eleventh_restore_in_ten_minutes_is_refused(databases: Databases, clock: Clock):
    """The limit counts per database and passes with time, also over a restart."""
    database, other = databases.create(ACCOUNT, "shop"), databases.create(ACCOUNT, "other")
    bookmark = await databases.bookmark(database)
    for _ in range(10):
        await databases.restore(database, bookmark=bookmark)
        clock.seconds += 1

    with pytest.raises(ApiError) as refusal:
        await databases.restore(database, bookmark=bookmark)
    assert refusal.value.status == 429
    assert refusal.value.headers["Retry-After"] == "590"
    await databases.restore(other, bookmark=await databases.bookmark(other))
    clock.seconds += 590
    await databases.restore(database, bookmark=bookmark)


async def test_states_beyond_30_days_are_refused_and_their_files_removed(small: Databases, clock: Clock):
    """The past is forgotten after 30 days, what is younger stays reachable, and the files go."""
    database = small.create(ACCOUNT, "shop")
    day = 24 * 3600
    bookmarks = []
    for number in range(45):
        await rows(small, database, "CREATE TABLE IF NOT EXISTS t(a); DELETE FROM t")
        await rows(small, database, "INSERT INTO t SELECT zeroblob(50000 + ?)", number)
        bookmarks.append(await small.bookmark(database))
        clock.seconds += day

    for number in (0, 10, 14):
        with pytest.raises(ApiError):
            await small.restore(database, bookmark=bookmarks[number])
    for number in (44, 30, 16):
        await small.restore(database, bookmark=bookmarks[number])
        assert await rows(small, database, "SELECT length(a) - 50000 FROM t") == [(number,)]
    with pytest.raises(ApiError, match="30 days"):
        await small.bookmark(database, datetime.fromtimestamp(clock.seconds - 31 * day, UTC))
    assert await small.bookmark(database, datetime.fromtimestamp(clock.seconds - 29 * day, UTC))
    kept = [int(path.name[:8], 16) for path in small.folder(database).glob("*.commits")]
    assert min(kept) > 5


async def test_few_whole_copies_are_kept(small: Databases):
    """Of many generations only every few keep their first file; each state can still be rebuilt."""
    database = small.create(ACCOUNT, "shop")
    await rows(small, database, "CREATE TABLE t(a)")
    bookmarks = []
    for number in range(100):
        await rows(small, database, "INSERT INTO t VALUES(zeroblob(9000 + ?))", number)
        bookmarks.append(await small.bookmark(database))
    folder = small.folder(database)

    generations = len(list(folder.glob("*.commits")))
    copies = len(list(folder.glob("*.sqlite")))

    assert generations > 12
    assert generations / 5 <= copies <= generations / 2
    for number in (0, 17, 33, 50, 68, 81, 99):
        await small.restore(database, bookmark=bookmarks[number])
        assert await rows(small, database, "SELECT count(*), max(length(a)) FROM t") == [(number + 1, 9000 + number)]
