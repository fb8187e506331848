"""The corpus of configs, and every kind of operation that can be done to any of them."""

from __future__ import annotations

from pathlib import Path

from clodo.workspace.documents import read_document
from clodo.workspace.editing import (
    EnsureEnvironment,
    Operation,
    PutBinding,
    PutQueueConsumer,
    PutRoute,
    SetValue,
    SetVariables,
    set_account_id,
    set_crons,
)

FOLDER = Path(__file__).parents[1] / "samples" / "corpus"
FILES = sorted(FOLDER.iterdir())
ID = "0123456789abcdef0123456789abcdef"


def operations_in(environment: str | None) -> tuple[Operation, ...]:
    return (
        PutBinding.database(
            environment, "NEW_DB", database_name="new", database_id="11111111-0000-0000-0000-000000000000"
        ),
        PutBinding.database(environment, "DB", database_name="new", database_id=None),
        PutBinding.namespace(environment, "NEW_NAMESPACE", namespace_id=ID),
        PutBinding.namespace(environment, "CACHE", namespace_id=ID),
        PutBinding.bucket(environment, "NEW_BUCKET", bucket_name="files", jurisdiction="eu"),
        PutBinding.queue(environment, "NEW_QUEUE", queue="jobs-2"),
        PutBinding.service(environment, "NEW_SERVICE", worker="auth-2"),
        PutQueueConsumer(environment, "jobs", {"max_batch_size": 7}),
        set_crons(environment, ("1 2 * * *",)),
        set_crons(environment, ()),
        SetVariables(
            environment, {"LOG_LEVEL": "ünusual", "NEW VAR": 'a "b" \\ \t', "TABLE": {"list": [1, 2.5, True]}}
        ),
        PutRoute(environment, "new.example.com", is_custom_domain=True),
        PutRoute(environment, "new.example.com/*", zone_id=ID),
        SetValue(environment, "compatibility_date", "2026-05-05"),
        SetValue(environment, "workers_dev", False),
        SetValue(environment, "observability.enabled", True),
    )


OPERATIONS: tuple[Operation, ...] = (
    *operations_in(None),
    *operations_in("staging"),
    *operations_in("production"),
    set_account_id(ID),
    EnsureEnvironment("staging"),
    EnsureEnvironment("preview", {"workers_dev": True}),
    EnsureEnvironment("production"),
)


def comments_of(file: Path, text: str) -> list[str]:
    """Find what a comment says after its sign; text in strings does no harm, it must stay as well."""
    sign = "#" if file.suffix == ".toml" else "//"
    return [line.partition(sign)[2].strip() for line in text.split("\n") if sign in line]


def lines_of(file: Path) -> int:
    return read_document(file).text.count("\n") + 1
