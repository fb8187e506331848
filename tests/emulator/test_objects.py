"""Durable Object classes through migrations and exports."""

from __future__ import annotations

from typing import Any

import pytest

from clodo.emulator.envelope import ApiError
from clodo.emulator.workers.exports import classes_from_exports
from clodo.emulator.workers.objects import ObjectClass, migrated, raise_if_tag_differs

ROOM = ObjectClass("a" * 32, "Room", True)


def test_classes_are_added_renamed_and_deleted() -> None:
    """Steps apply in order; a renamed class keeps its namespace."""
    steps: list[dict[str, Any]] = [
        {"new_sqlite_classes": ["Room"], "new_classes": ["Old"]},
        {"renamed_classes": [{"from": "Room", "to": "Lobby"}]},
        {"deleted_classes": ["Old"]},
    ]

    first = migrated([], {"new_tag": "v1", "steps": steps[:1]})
    last = migrated(first, {"old_tag": "v1", "new_tag": "v3", "steps": steps[1:]})

    assert {(known.name, known.uses_sqlite) for known in first} == {("Room", True), ("Old", False)}
    assert [(known.name, known.uses_sqlite) for known in last] == [("Lobby", True)]
    assert last[0].id in {known.id for known in first}


@pytest.mark.parametrize(
    "step",
    [
        {"new_sqlite_classes": ["Room"]},
        {"renamed_classes": [{"from": "Gone", "to": "Lobby"}]},
        {"deleted_classes": ["Gone"]},
        {"new_classes": "Room"},
        {"transferred_classes": [{"from": "A", "from_script": "b", "to": "C"}]},
        {"transferred_classes": [{"from": "Hall", "from_script": "other", "to": "Room"}]},
        {"transferred_classes": [{"from": "Hall", "from_script": "other", "to": f"C{n}"} for n in range(2)]},
        {"transferred_classes": [{"from": "Hall"}]},
        {"transferred_classes": "Hall"},
    ],
)
def test_impossible_steps_are_refused(step: dict[str, Any]) -> None:
    """A class can't be added twice, nor renamed, transferred or deleted when it isn't there."""
    hall = ObjectClass("b" * 32, "Hall", True)
    with pytest.raises(ApiError):
        migrated([ROOM], {"steps": [step]}, lambda script: [hall] if script == "other" else [])


def test_migrations_for_another_state_are_refused() -> None:
    """The tag that the client started from must be the Worker's."""
    raise_if_tag_differs({"old_tag": "v1"}, "v1")
    raise_if_tag_differs({}, None)
    with pytest.raises(ApiError) as refusal:
        raise_if_tag_differs({"old_tag": "v1"}, "v2")

    assert (refusal.value.status, refusal.value.code) == (412, 10079)


def test_exports_reconcile_with_what_there_is() -> None:
    """Declared classes are added once, tombstones delete and rename."""
    added = classes_from_exports([ROOM], {"Room": {"type": "durable-object", "storage": "sqlite"}, "default": {}})
    renamed = classes_from_exports(
        [ROOM], {"Room": {"type": "durable-object", "state": "renamed", "renamed_to": "Lobby"}}
    )
    deleted = classes_from_exports([ROOM], {"Room": {"type": "durable-object", "state": "deleted"}})

    assert added == [ROOM]
    assert renamed == [ObjectClass(ROOM.id, "Lobby", True)]
    assert deleted == []
