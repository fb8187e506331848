"""Durable Objects declared by ``exports`` instead of migrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clodo.emulator.clock import new_id
from clodo.emulator.envelope import ApiError
from clodo.emulator.workers.objects import ObjectClass

#: "Durable Object exports reconciliation" error: wrangler explains it to the user.
RECONCILIATION = 100402


def classes_from_exports(classes: Sequence[ObjectClass], exports: Mapping[str, Any]) -> list[ObjectClass]:
    """
    Return the classes that there are once *exports* is reconciled with what there was.

    Raises:
        ApiError: An entry wants what can't be: an unknown state, a rename onto a class that exists.
    """
    by_name = {known.name: known for known in classes}
    for name, entry in exports.items():
        if not isinstance(entry, dict) or entry.get("type") != "durable-object":
            continue
        state = entry.get("state") or "created"
        if state == "created":
            by_name.setdefault(name, ObjectClass(new_id(), name, entry.get("storage") != "legacy-kv"))
        elif state == "deleted":
            by_name.pop(name, None)
        elif state == "renamed":
            target = entry.get("renamed_to")
            if name in by_name:
                if not isinstance(target, str) or target in by_name:
                    raise ApiError(400, RECONCILIATION, f"exports: class {name!r} can't be renamed to {target!r}.")
                known = by_name.pop(name)
                by_name[target] = ObjectClass(known.id, target, known.uses_sqlite)
        else:
            raise ApiError(
                400, RECONCILIATION, f"exports: state {state!r} of {name!r} is not served by the embedded cloud."
            )
    return list(by_name.values())
