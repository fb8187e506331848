"""The file of facts: its bound, and what survives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.emulator.analytics.datasets import DATASETS
from clodo.emulator.analytics.questions import Question, QuestionRefused
from clodo.emulator.analytics.recorder import Recorder
from clodo.emulator.analytics.store import Facts, Invocation, KeyOperation


def operation(at: int, size: int = 0) -> KeyOperation:
    """A read of KV."""
    return KeyOperation("a" * 32, at, "n", "read", "success", 200, 1, size, 0.5)


def question(function: str, name: str, **arguments: Any) -> Question:
    """Ask for one figure of all KV operations, at millisecond 1,000,000."""
    asked = Question(DATASETS["kvOperationsAdaptiveGroups"], "a" * 32)
    asked.take_arguments(arguments, now_ms=1_000_000, delay_ms=0)
    asked.column(function, name)
    return asked


def test_no_more_rows_are_kept_than_allowed(tmp_path: Path) -> None:
    """Beyond the bound the oldest rows go."""
    facts = Facts(tmp_path / "analytics.db", max_rows=10)
    for at in range(25):
        facts.add(operation(at))
        facts.flush()

    kept = [at for (at,) in facts.rows("SELECT at FROM key_operations ORDER BY at", ())]

    assert kept == list(range(15, 25))
    facts.close()


def test_facts_are_there_after_a_restart(tmp_path: Path) -> None:
    """What was counted is on disk once the file is closed, readable by its owner only."""
    path = tmp_path / "analytics.db"
    facts = Facts(path)
    facts.add(operation(1))
    facts.close()
    again = Facts(path)

    assert list(again.rows("SELECT count(*) FROM key_operations", ())) == [(1,)]
    assert path.stat().st_mode & 0o777 == 0o600
    again.close()


def test_facts_of_an_older_shape_are_dropped(tmp_path: Path) -> None:
    """A file that another version wrote is begun anew: they are only figures."""
    connection = apsw.Connection(str(tmp_path / "analytics.db"))
    connection.execute("CREATE TABLE key_operations(old); INSERT INTO key_operations VALUES (1)")
    connection.close()
    facts = Facts(tmp_path / "analytics.db")
    facts.add(operation(1))

    assert list(facts.rows("SELECT at FROM key_operations", ())) == [(1,)]
    facts.close()


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_quantiles_are_values_that_occurred(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """A quantile is the smallest value that enough values don't exceed."""
    facts = Facts(tmp_path_factory.mktemp("facts") / "analytics.db")
    for size in sizes:
        facts.add(operation(1000, size))
    asked = question("quantiles", "objectBytesP90")

    ((found,),) = facts.rows(asked.sql(), asked.parameters)

    assert found in sizes
    assert sum(size <= found for size in sizes) >= 0.9 * len(sizes)
    assert sum(size < found for size in sizes) < 0.9 * len(sizes)
    facts.close()


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(("limit", "filter", "orderBy", "x")),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ("AND", "OR", "actionType", "actionType_in", "date_geq", "datetime_lt", "result_like")
                    )
                    | st.text(max_size=6),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=6,
        ),
    )
)
def test_any_argument_is_a_question_or_refused(no_facts: Facts, arguments: dict[str, Any]) -> None:
    """Whatever the arguments are, there is a statement that SQLite takes, or a refusal."""
    try:
        asked = question("sum", "requests", **arguments)
    except QuestionRefused:
        return

    assert list(no_facts.rows(asked.sql(), asked.parameters)) == []


@pytest.fixture(scope="module")
def no_facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facts]:
    """An empty file of facts."""
    facts = Facts(tmp_path_factory.mktemp("facts") / "analytics.db")
    yield facts
    facts.close()


def test_pages_are_counted_apart_from_workers(tmp_path: Path) -> None:
    """What the Workers behind Pages do is in the dataset of Pages, and not in that of Workers."""
    facts = Facts(tmp_path / "analytics.db")
    for script in ("shop", "shop", "pages-worker--1-production"):
        facts.add(Invocation("a" * 32, 999_000, script, "", "v", "fetch", "success", 0, 1, 1))
    counts = []
    for name in ("workersInvocationsAdaptive", "pagesFunctionsInvocationsAdaptiveGroups"):
        asked = Question(DATASETS[name], "a" * 32)
        asked.take_arguments({}, now_ms=1_000_000, delay_ms=0)
        asked.column("sum", "requests")
        asked.column("dimensions", "scriptName")
        counts += list(facts.rows(asked.sql(), asked.parameters))

    assert counts == [(2, "shop"), (1, "pages-worker--1-production")]
    facts.close()


def test_cpu_time_is_what_the_process_used_since(tmp_path: Path) -> None:
    """A recorder gives each run what its process has used since the last one ended."""
    facts = Facts(tmp_path / "analytics.db")
    used = iter((1.0, 1.25, 1.5, 2.5))
    recorder = Recorder(facts, tag_of=lambda account, script: "", now=lambda: 1.0, cpu_seconds=lambda pid: next(used))
    lease: Any = _Lease()

    recorder.began(lease)
    recorder.ended(lease, event="fetch", status="success", seconds=0.5)
    lease.instance.in_flight = 2
    recorder.began(lease)
    recorder.subrequest("v")
    recorder.ended(lease, event="fetch", status="success", seconds=0.5)

    found = list(facts.rows("SELECT cpu_us, subrequests, wall_us FROM invocations ORDER BY number", ()))
    assert found == [(250_000, 0, 500_000), (250_000, 1, 500_000)]
    facts.close()


class _Spec:
    account_id, script, version_id = "a" * 32, "shop", "v"


class _Workerd:
    pid = 4711


class _Instance:
    in_flight = 1


class _Version:
    spec = _Spec()


class _Lease:
    """As much of a lease as a recorder looks at."""

    def __init__(self) -> None:
        self.instance = _Instance()
        self.workerd = _Workerd()
        self.version = _Version()
