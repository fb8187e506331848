"""Durable Object migrations: which classes a Worker has after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clodo.emulator.clock import new_id
from clodo.emulator.envelope import ApiError

BAD_MIGRATION = 10021
CLASS_EXISTS = 10074
CLASS_UNKNOWN = 10070
TAG_PRECONDITION = 10079

_KINDS = ("new_classes", "new_sqlite_classes", "deleted_classes", "renamed_classes", "transferred_classes")


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """
    A Durable Object class with a namespace of its own.

    Attributes:
        id: Of the namespace: 32 hex digits, kept when the class is renamed.
    """

    id: str
    name: str
    uses_sqlite: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """A class that comes from another Worker of the account, with its namespace and what its objects keep."""

    from_script: str
    from_class: str
    to_class: str


def steps_of(migrations: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the steps, whether there is a list of them or the one step stands in the object itself."""
    steps = migrations.get("steps")
    if isinstance(steps, list):
        return [step for step in steps if isinstance(step, dict)]
    return [migrations] if any(migrations.get(kind) for kind in _KINDS) else []


def raise_if_tag_differs(migrations: Mapping[str, Any], current_tag: str | None) -> None:
    """
    Refuse migrations that were written for another state than the Worker's.

    Raises:
        ApiError: ``old_tag`` isn't the Worker's migration tag.
    """
    old_tag = migrations.get("old_tag") or ""
    if old_tag != (current_tag or ""):
        raise ApiError(
            412,
            TAG_PRECONDITION,
            f"Actor migration tag precondition failed, got tag '{old_tag}' when expected tag is '{current_tag or ''}'.",
        )


def transfers_in(migrations: Mapping[str, Any]) -> list[Transfer]:
    """
    Return what *migrations* take from other Workers.

    Raises:
        ApiError: A transfer lacks where from or where to.
    """
    found: list[Transfer] = []
    for step in steps_of(migrations):
        changes = step.get("transferred_classes") or []
        for change in changes if isinstance(changes, list) else [None]:
            words = [change.get(key) for key in ("from_script", "from", "to")] if isinstance(change, dict) else []
            names = [word for word in words if isinstance(word, str) and word]
            if len(names) != 3:
                raise ApiError(
                    400, BAD_MIGRATION, "migrations: transferred_classes must be a list of {from, from_script, to}"
                )
            found.append(Transfer(*names))
    return found


def migrated(
    classes: Sequence[ObjectClass],
    migrations: Mapping[str, Any],
    of_script: Callable[[str], Sequence[ObjectClass]] = lambda script: (),
) -> list[ObjectClass]:
    """
    Return the classes that there are after *migrations*.

    Args:
        of_script: Returns the classes of another Worker, which may be transferred from there.

    Raises:
        ApiError: A step names a class that isn't there, or adds one that is.
    """
    by_name = {known.name: known for known in classes}
    for step in steps_of(migrations):
        for transfer in transfers_in({"steps": [step]}):
            known = {found.name: found for found in of_script(transfer.from_script)}.get(transfer.from_class)
            if known is None or any(known.id == other.id for other in by_name.values()):
                raise ApiError(
                    400,
                    CLASS_UNKNOWN,
                    f"Cannot apply transferred_classes migration to non-existent class '{transfer.from_class}' of"
                    f" script '{transfer.from_script}'.",
                )
            if transfer.to_class in by_name:
                raise ApiError(
                    400, CLASS_EXISTS, f"Cannot transfer to class '{transfer.to_class}', which exists already."
                )
            by_name[transfer.to_class] = replace(known, name=transfer.to_class)
        for kind in ("new_classes", "new_sqlite_classes"):
            for name in _names(step, kind):
                if name in by_name:
                    raise ApiError(
                        400,
                        CLASS_EXISTS,
                        f"Cannot apply {kind.replace('_', '-')} migration to class '{name}' that is already depended on"
                        " by existing Durable Objects.",
                    )
                by_name[name] = ObjectClass(new_id(), name, kind == "new_sqlite_classes")
        for change in step.get("renamed_classes") or []:
            old, new = change.get("from"), change.get("to")
            _raise_if_unknown("renamed_classes", old, by_name)
            if new in by_name:
                raise ApiError(400, CLASS_EXISTS, f"Cannot rename class '{old}' to '{new}', which exists already.")
            by_name[new] = replace(by_name.pop(old), name=new)
        for name in _names(step, "deleted_classes"):
            _raise_if_unknown("deleted_classes", name, by_name)
            del by_name[name]
    return list(by_name.values())


def _names(step: Mapping[str, Any], kind: str) -> list[str]:
    names = step.get(kind) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ApiError(400, BAD_MIGRATION, f"migrations: {kind} must be a list of class names")
    return names


def _raise_if_unknown(kind: str, name: Any, by_name: Mapping[str, ObjectClass]) -> None:
    if name not in by_name:
        raise ApiError(400, CLASS_UNKNOWN, f"Cannot apply {kind} migration to non-existent class '{name}'.")
