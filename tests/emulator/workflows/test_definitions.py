"""What a client says a Workflow is, read and checked."""

from __future__ import annotations

from typing import Any

import pytest

from clodo.emulator.envelope import ApiError
from clodo.emulator.workflows.definitions import definition_from

BODY: dict[str, Any] = {"script_name": "shop", "class_name": "Checkout"}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("", BODY),
        ("-flow", BODY),
        ("flow\n", BODY),
        ("f" * 65, BODY),
        ("flow", {"script_name": "shop"}),
        ("flow", BODY | {"class_name": ""}),
        ("flow", BODY | {"limits": {"steps": 0}}),
        ("flow", BODY | {"limits": {"steps": True}}),
        ("flow", BODY | {"concurrency": 3}),
        ("flow", BODY | {"default_retention": {"error_retention": "soon"}}),
        ("flow", BODY | {"default_retention": {"error_retention": -1}}),
        ("flow", BODY | {"schedules": [{"cron": "* *"}]}),
        ("flow", BODY | {"schedules": ["* * * * *"]}),
        ("flow", BODY | {"jurisdiction": "moon"}),
    ],
)
def test_what_is_no_definition_is_refused(name: str, body: dict[str, Any]) -> None:
    """Names and bodies that the API doesn't take are 10002, with what is wrong."""
    with pytest.raises(ApiError, match=r"^workflows\.api\.error\.body: ") as raised:
        definition_from(name, body)

    assert (raised.value.status, raised.value.code) == (400, 10002)


@pytest.mark.parametrize(
    ("said", "milliseconds"),
    [(1500, 1500), ("1 second", 1000), ("5 minutes", 300_000), ("1.5 hours", 5_400_000), ("2 weeks", 1_209_600_000)],
)
def test_retention_is_kept_in_milliseconds(said: int | str, milliseconds: int) -> None:
    """Versions show times as numbers, however they were written."""
    made = definition_from("flow", BODY | {"default_retention": {"success_retention": said}, "limits": {}})

    assert made.settings == {"default_retention": {"success_retention": milliseconds}}
