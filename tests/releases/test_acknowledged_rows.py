"""Users read and write all the time, releases fail after they migrated, and no acknowledged row is lost."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx
import pytest

from clodo.errors import ReleaseFailed

from .stage import ORDERS, WORKER, Stage

FAILS_WITH_ROWS = """\
CREATE TABLE half (id INTEGER);
-- clodo: allow unique-index: a rehearsal on a copy of the schema can't find it
CREATE UNIQUE INDEX one ON orders (length(item) * 0);
"""
NOTES = "ALTER TABLE orders ADD COLUMN note TEXT;"
# Which of a redeploy's queries is the one that migrates, after those that only look.
MIGRATION = 5


@dataclass
class Customers:
    """
    Order and look from threads of their own until they are left; a context manager.

    Attributes:
        acknowledged: Item to id, of every order that the shop said it has.

        failures: What came instead of an answer, or another answer than 200 and 201.

        versions: Which versions answered.
    """

    stage: Stage
    threads: int = 2
    acknowledged: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._left = threading.Event()
        self._came = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._stay, args=(number,)) for number in range(self.threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait_for(10)
        self._left.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, orders: int) -> None:
        """Return when so many more have been acknowledged."""
        for _ in range(orders):
            assert self._came.acquire(timeout=60), f"no order came through: {self.failures[:3]}"

    def _stay(self, number: int) -> None:
        headers = {"host": self.stage.account.hostname(WORKER)}
        with httpx.Client(
            base_url=self.stage.account.cloud.edge_url, headers=headers, trust_env=False, timeout=60
        ) as client:
            for order in itertools.count():
                if self._left.is_set():
                    return
                self._order(client, f"{number}-{order}")
                self._look(client)

    def _order(self, client: httpx.Client, item: str) -> None:
        try:
            answer = client.post("/orders", content=item)
        except httpx.TransportError as error:
            self.failures.append(f"POST: {error!r}")
            return
        if answer.status_code != 201:
            self.failures.append(f"POST: {answer.status_code} {answer.text[:200]}")
            return
        self.acknowledged[item] = answer.json()["id"]
        self.versions.add(answer.json()["version"])
        self._came.release()

    def _look(self, client: httpx.Client) -> None:
        try:
            answer = client.get("/")
        except httpx.TransportError as error:
            self.failures.append(f"GET: {error!r}")
            return
        if answer.status_code != 200:
            self.failures.append(f"GET: {answer.status_code} {answer.text[:200]}")
            return
        self.versions.add(answer.json()["version"])


def raise_if_rows_are_lost(stage: Stage, customers: Customers) -> None:
    """Fail unless the database has every acknowledged order, once, under the id that was told."""
    rows = stage.query("SELECT id, item FROM orders")
    assert {row["item"]: row["id"] for row in rows} == customers.acknowledged
    assert len(rows) == len(customers.acknowledged)


@pytest.fixture
def live(stage: Stage) -> str:
    """A first version that users order from."""
    released = stage.release()
    assert released.version_id is not None
    return released.version_id


@pytest.mark.parametrize("on_failure", ["keep", "time-travel"])
def test_a_version_that_fails_after_migrating_loses_no_row(stage, live, on_failure):
    """While users write, time travel would lose rows, so the schema stays whatever the portfolio prefers."""
    stage.write(
        says="two", status=500, on_failure=on_failure, migrations={"0001_orders.sql": ORDERS, "0002_notes.sql": NOTES}
    )

    with Customers(stage) as customers, pytest.raises(ReleaseFailed, match=r"kept: .*0002_notes\.sql"):
        stage.release()

    assert customers.failures == []
    assert customers.versions == {live}
    raise_if_rows_are_lost(stage, customers)
    assert stage.applied == ["0001_orders.sql", "0002_notes.sql"]
    stage.raise_if_unsettled()


def test_a_migration_that_fails_loses_no_row_and_leaves_nothing(stage, live):
    """Of a file that fails nothing stays, those before it do, and users notice neither."""
    stage.write(
        says="two",
        migrations={
            "0001_orders.sql": ORDERS,
            "0002_notes.sql": NOTES,
            "0003_wrong.sql": FAILS_WITH_ROWS,
        },
    )

    with Customers(stage) as customers, pytest.raises(ReleaseFailed, match=r"0003_wrong\.sql: one of its 2") as failed:
        stage.release()

    assert "nothing of it stayed" in failed.value.message
    assert customers.failures == []
    assert customers.versions == {live}
    raise_if_rows_are_lost(stage, customers)
    assert stage.tables == ["orders"]
    assert stage.applied == ["0001_orders.sql", "0002_notes.sql"]
    stage.raise_if_unsettled()


def test_a_version_that_fails_in_front_of_users_loses_no_row(stage, live):
    """What users were told by a version that was live for a moment stays, though the version before is back."""
    stage.write(says="two", live_status=500, migrations={"0001_orders.sql": ORDERS, "0002_notes.sql": NOTES})

    with Customers(stage) as customers, pytest.raises(ReleaseFailed):
        stage.release()

    # It answers orders, and fails the health check that only its live hostname fails.
    assert {failure[:8] for failure in customers.failures} <= {"GET: 500"}
    raise_if_rows_are_lost(stage, customers)
    assert stage.live_version == live
    stage.raise_if_unsettled()


@pytest.mark.parametrize(
    ("path", "nth"),
    [
        pytest.param(r"/d1/database/[^/]+/query$", MIGRATION, marks=pytest.mark.exhaustive),
        (r"/time_travel/restore$", 1),
    ],
    ids=["right before the migration", "right before the restore"],
)
def test_time_travel_keeps_a_row_that_nobody_could_have_seen(stage, live, path, nth):
    """A row that comes between a look and what follows it is there afterwards, and so is the schema."""
    stage.write(
        says="two",
        status=500,
        on_failure="time-travel",
        migrations={"0001_orders.sql": ORDERS, "0002_notes.sql": NOTES},
    )
    cloud = stage.account.cloud
    fault = cloud.add_fault(
        f"{stage.account.account_id}.*{path}", method="POST", action="pass", delay_seconds=3.0, nth=nth, times=1
    )
    customers = Customers(stage)
    over = threading.Event()

    def order_once() -> None:
        while not next(armed["struck"] for armed in cloud.faults() if armed["id"] == fault):
            if over.wait(0.01):
                return
        answer = stage.order("in between")
        assert answer.status_code == 201
        customers.acknowledged["in between"] = answer.json()["id"]

    customer = threading.Thread(target=order_once)
    customer.start()
    try:
        with pytest.raises(ReleaseFailed, match=r"kept: .*0002_notes\.sql"):
            stage.release()
    finally:
        over.set()
        customer.join()
        cloud.clear_faults(fault)

    assert customers.acknowledged, "the call was never made, so nothing was shown"
    raise_if_rows_are_lost(stage, customers)
    assert stage.applied == ["0001_orders.sql", "0002_notes.sql"]
    stage.raise_if_unsettled()


def test_time_travel_takes_the_schema_back_when_nobody_wrote(stage, live):
    """Where it provably loses nothing, the database is as it was before the release, and the rows from before are."""
    before = Customers(stage)
    for item in ("one", "two"):
        before.acknowledged[item] = stage.order(item).json()["id"]
    stage.write(
        says="two",
        status=500,
        on_failure="time-travel",
        migrations={"0001_orders.sql": ORDERS, "0002_notes.sql": NOTES},
    )

    with pytest.raises(ReleaseFailed, match="went back in time"):
        stage.release()

    raise_if_rows_are_lost(stage, before)
    assert stage.applied == ["0001_orders.sql"]
    stage.raise_if_unsettled()
