"""Creating the databases that a target's config names: by exact name, adopted if there, their ids written back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clodo.cloudflare.d1 import D1, Database
from clodo.errors import ApiRefused, BadUsage, DatabaseNotFound, VerificationFailed
from clodo.releases.site import Site
from clodo.workspace.editing import PutBinding, applied, edit_config
from clodo.workspace.effective_config import DatabaseBinding
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace

LOCATIONS = ("wnam", "enam", "weur", "eeur", "apac", "oc")
JURISDICTIONS = ("eu", "fedramp")

NAME_IS_TAKEN = 7502
"""Cloudflare's number for it."""


@dataclass(frozen=True, slots=True)
class Created:
    """
    A database that a binding now leads to.

    Attributes:
        was_adopted: Was one of that exact name there already?

        diff: What changed in the wrangler config; empty when the id stood there.
    """

    target: str
    binding: str
    database: str
    database_id: str
    was_adopted: bool
    diff: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object for scripts."""
        return {
            "target": self.target,
            "binding": self.binding,
            "database": self.database,
            "database_id": self.database_id,
            "was_adopted": self.was_adopted,
            "diff": self.diff,
        }


def create_databases(
    site: Site,
    target: Target,
    *,
    names: Sequence[str] = (),
    location: str | None = None,
    jurisdiction: str | None = None,
) -> tuple[Created, ...]:
    """
    Have a database on the account for each D1 binding of *target*, and its id in the wrangler config.

    It may be repeated: what is there is adopted, and an id that stands in the config is only checked.

    Args:
        names: Only these bindings or databases; all when empty.

        location: Where a new one's primary should be: one of LOCATIONS.

        jurisdiction: One of JURISDICTIONS; goes before *location*.

    Raises:
        AmbiguousName: The account has several databases of that name.

        DatabaseNotFound: The config gives an id that the account doesn't have.

        VerificationFailed: The binding doesn't lead to the database of its name.

        Interrupted: Somebody asked to stop; what was made before is in the config.
    """
    if location is not None and location not in LOCATIONS:
        raise BadUsage(f'"{location}" is no location', hint="There are " + ", ".join(LOCATIONS) + ".")
    config = site.workspace.effective(target)
    chosen = [item for item in config.databases if not names or {item.binding, item.database_name} & set(names)]
    known = {name for item in config.databases for name in (item.binding, item.database_name)}
    unknown = [name for name in names if name not in known]
    if unknown or not chosen:
        which = f'called "{unknown[0]}"' if unknown else "binding"
        raise DatabaseNotFound(
            f"{config.file}: {target} has no d1_databases {which}", hint="Add it to the wrangler config first."
        )
    return tuple(_create(site, target, item, location, jurisdiction) for item in chosen)


def _create(
    site: Site, target: Target, binding: DatabaseBinding, location: str | None, jurisdiction: str | None
) -> Created:
    site.interruption.raise_if_requested()
    d1 = site.account_of(target).cloudflare.with_guard(site.interruption.raise_if_requested).d1
    name = binding.database_name
    if binding.database_id is not None:
        there = d1.get(binding.database_id)
        _raise_if_another(binding, there.name, binding.database_id)
        return Created(str(target), binding.binding, name, binding.database_id, was_adopted=True)
    found, was_adopted = _found_or_made(d1, name, location, jurisdiction)
    database_id = found.uuid
    _raise_if_another(binding, d1.get(database_id).name, database_id)
    config = site.workspace.effective(target)
    edit = edit_config(
        config.file,
        [PutBinding.database(config.section, binding.binding, database_name=name, database_id=database_id)],
    )
    with applied([edit], state_dir=site.workspace.state_dir):
        _raise_unless_bound(site, target, binding, database_id)
    detail = {"database": name, "database_id": database_id, "adopted": was_adopted}
    site.ledger.audit.append(site.actor, "database-created", str(target), detail)
    return Created(str(target), binding.binding, name, database_id, was_adopted, edit.diff(site.workspace.root))


def _found_or_made(d1: D1, name: str, location: str | None, jurisdiction: str | None) -> tuple[Database, bool]:
    """Return the database, and whether it was there."""
    found = d1.find(name)
    if found is not None:
        return found, True
    try:
        return d1.create(name, location=location, jurisdiction=jurisdiction), False
    except ApiRefused as error:
        # Somebody else made it since we looked, or the request of a process that died came late.
        if error.code != NAME_IS_TAKEN:
            raise
        return d1.get_by_name(name), True


def _raise_if_another(binding: DatabaseBinding, name: str, database_id: str) -> None:
    if name != binding.database_name:
        raise VerificationFailed(
            f'{binding.place}: the database {database_id} is called "{name}", not "{binding.database_name}"',
            hint="Correct database_name or database_id.",
        )


def _raise_unless_bound(site: Site, target: Target, binding: DatabaseBinding, database_id: str) -> None:
    """Read the workspace again: what the file says now must lead there."""
    config = Workspace.load(site.workspace.root).effective(target)
    now = next((item for item in config.databases if item.binding == binding.binding), None)
    if now is None or (now.database_id, now.database_name) != (database_id, binding.database_name):
        raise VerificationFailed(f"{binding.place}: {binding.binding} does not lead to {database_id} after the edit")
