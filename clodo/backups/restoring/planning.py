"""Drawing the plan of a restore: what the snapshot has, what the account has, and so what would be done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from clodo.backups.manifest import Archive, Exactness, Kind, Manifest
from clodo.backups.restoring.databases import contents_of
from clodo.backups.restoring.merging import MERGEABLE, Preview, moved_in, preview
from clodo.backups.restoring.namespaces import BATCH_PAIRS
from clodo.backups.restoring.plan import Plan, Step, Way, Wish
from clodo.backups.restoring.sources import Source
from clodo.backups.selection import AccountView, choose_targets, select_resources
from clodo.cloudflare.client import Cloudflare
from clodo.errors import BadUsage, DatabaseNotFound, NotFound, Refused
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace

_BYTES_PER_SECOND = 8_000_000
_SECONDS_PER_REQUEST = 0.1


class Accounts(Protocol):
    """The accounts of a workspace."""

    def client(self, account_id: str) -> Cloudflare:
        """
        Return the client of an account.

        Raises:
            BadConfiguration: No environment of the workspace is served by it.
        """
        ...

    def called(self, block: str) -> Cloudflare:
        """
        Return the client of the account that a block names.

        Raises:
            BadConfiguration: There is no such block.
        """
        ...

    def account_of(self, target: Target) -> AccountView:
        """Return the account that serves *target*."""
        ...

    def lock_of(self, target: Target) -> str:
        """Return the name of the lock that a release of *target* holds."""
        ...


def draw_plan(
    manifest: Manifest, vault: str, wish: Wish, accounts: Accounts, source: Callable[[Archive], Source]
) -> Plan:
    """
    Compare a snapshot with what is there.

    Args:
        source: Opens the archives of what is merged into; others are not read.

    Raises:
        IdentityMissing: No key here opens what has to be read.
        NotFound: The snapshot has nothing of what was asked for.
        BadUsage: A table, prefix or name is asked for, and not exactly one resource.
        Refused: A name that was asked for is taken.
    """
    chosen = _chosen(manifest, wish)
    left = list(_left(manifest, wish))
    _raise_if_none(chosen, manifest, wish, left)
    _raise_unless_one(chosen, wish)
    names = _Names()
    steps = [_step(archive, wish, accounts, names) for archive in chosen if archive.kind not in MERGEABLE]
    moved = moved_in(steps)
    merged: list[tuple[Archive, Preview]] = []
    for archive in chosen:
        if archive.kind in MERGEABLE:
            found = preview(
                archive.kind,
                accounts.client(archive.account_id),
                archive.id,
                source(archive),
                moved,
                in_place=wish.in_place,
            )
            if found.not_whole:
                left.append((archive.label, f"it is gone, and {found.not_whole}: release it, then restore the rest"))
            else:
                merged.append((archive, found))
    # Bindings lead to what is there: data comes first, then zones, then Workers, those that others need first.
    steps += [_merging_step(archive, found) for archive, found in in_order(merged)]
    _raise_if_none(steps, manifest, wish, left)
    return Plan(manifest.id, vault, manifest.created_at, tuple(steps), wish.table, wish.prefix, tuple(left))


def in_order(found: Sequence[tuple[Archive, Preview]]) -> list[tuple[Archive, Preview]]:
    """Return archives so that each comes after those that it needs; those that need each other stay as they are."""
    waiting, ordered = list(found), list[tuple[Archive, Preview]]()
    while waiting:
        names = {archive.name for archive, _ in waiting if archive.kind is Kind.WORKER}
        ready = [item for item in waiting if not item[1].needs & names] or waiting[:1]
        ordered += ready
        waiting = [item for item in waiting if item not in ready]
    return ordered


def draw_journey(workspace: Workspace, wish: Wish, at: datetime, accounts: Accounts) -> Plan:
    """
    Plan to take databases to an earlier moment by Time Travel.

    Raises:
        NotFound: No binding names such a database.
        BadUsage: Not in place: Cloudflare's Time Travel knows nothing else.
        ApiRefused: The moment is out of reach.
    """
    if not wish.in_place:
        raise BadUsage(
            "Time Travel takes a database back in place, and not into a new one",
            hint="Add --in-place, or restore a snapshot into a new database.",
        )
    if wish.table or wish.prefix or wish.rename or wish.account:
        raise BadUsage("Time Travel takes whole databases, as they are called, where they are")
    selected = select_resources(workspace, choose_targets(workspace), accounts.account_of, {Kind.D1})
    chosen = [
        item for item in selected.resources if {item.name, f"d1/{item.name}", item.id} & set(wish.only) or not wish.only
    ]
    if not chosen:
        raise NotFound("No binding of this workspace names such a database", hint="Name it as the config does.")
    steps = []
    for item in chosen:
        cloudflare = accounts.client(item.account_id)
        bookmark = cloudflare.d1.bookmark(item.id, at)
        risks = (f"everything written since {at.isoformat()} is gone from the database, and kept in a safety snapshot",)
        steps.append(
            Step(
                kind=Kind.D1,
                way=Way.TRAVEL,
                source_id=item.id,
                source=item.name,
                account_id=item.account_id,
                name=item.name,
                there_id=item.id,
                there=contents_of(cloudflare, item.id),
                was_there=True,
                items=0,
                bytes=0,
                seconds=2.0,
                requests=4,
                bookmark=bookmark,
                targets=item.targets,
                risks=risks,
            )
        )
    return Plan("", "", at, tuple(steps))


class _Names:
    """What is there, listed once an account."""

    def __init__(self) -> None:
        self._found: dict[tuple[Kind, str], dict[str, str]] = {}

    def of(self, kind: Kind, cloudflare: Cloudflare) -> dict[str, str]:
        """Return names to ids."""
        key = (kind, cloudflare.account_id)
        if key not in self._found:
            if kind is Kind.D1:
                self._found[key] = {item.name: item.uuid for item in cloudflare.d1.list()}
            elif kind is Kind.KV:
                self._found[key] = {item.title: item.id for item in cloudflare.kv.list()}
            else:
                self._found[key] = {name: name for name in cloudflare.r2.buckets()}
        return self._found[key]


def _chosen(manifest: Manifest, wish: Wish) -> list[Archive]:
    known = [item for item in manifest.archives if "pack_of" not in item.facts]
    unknown = [name for name in wish.only if not any(_is_named(item, (name,)) for item in manifest.archives)]
    if unknown:
        raise NotFound(
            f'{manifest.id} has nothing called "{unknown[0]}"',
            hint="It has: " + ", ".join(item.label for item in known) + ".",
        )
    return [item for item in known if _is_chosen(item, wish)]


def _is_chosen(archive: Archive, wish: Wish) -> bool:
    if archive.kind in MERGEABLE:
        # Into something that is in use: nobody gets that who didn't spell it out.
        return bool({archive.label, archive.id} & set(wish.only))
    return not wish.only or _is_named(archive, wish.only)


def _left(manifest: Manifest, wish: Wish) -> Iterable[tuple[str, str]]:
    for item in manifest.archives:
        if wish.only and not _is_named(item, wish.only):
            continue
        if item.kind in MERGEABLE and not _is_chosen(item, wish):
            yield item.label, f"it changes what is in use, so it is restored when asked for: --only {item.label}"


def _is_named(archive: Archive, names: Iterable[str]) -> bool:
    return bool({archive.label, archive.name, archive.id} & set(names))


def _raise_if_none(
    found: Sequence[Archive] | Sequence[Step], manifest: Manifest, wish: Wish, left: Sequence[tuple[str, str]]
) -> None:
    if not found:
        reason = f": {left[0][0]}: {left[0][1]}" if left else ""
        raise NotFound(
            f"{manifest.id} holds nothing that can be restored"
            + (f" by the name {wish.only[0]}" if wish.only else "")
            + reason,
            hint=f"`clodo backup show {manifest.id}` lists what is in it.",
        )


def _raise_unless_one(chosen: Sequence[Archive], wish: Wish) -> None:
    for given, kind, what in ((wish.table, Kind.D1, "--table"), (wish.prefix, Kind.KV, "--prefix")):
        if given is not None and [item.kind for item in chosen] != [kind]:
            raise BadUsage(
                f"{what} goes with one {kind.value} archive, and {len(chosen)} are chosen",
                hint=f"Name it: --only {kind.value}/NAME.",
            )
    unknown = [old for old, _ in wish.rename if not any(_is_named(item, (old,)) for item in chosen)]
    if unknown:
        raise BadUsage(f'"{unknown[0]}" is to be called otherwise, and is not restored')
    fixed = [item.label for item in chosen if item.kind in MERGEABLE]
    if fixed and (wish.rename or wish.account):
        raise BadUsage(f"{fixed[0]} is restored where it was, under its name", hint="Leave --as and --account away.")
    if wish.rename and wish.in_place:
        raise BadUsage("What is overwritten in place keeps its name", hint="Leave --as or --in-place away.")


def _merging_step(archive: Archive, found: Preview) -> Step:
    is_there, lines = found.way is not Way.CREATE, found.changes.lines
    requests = 2 * archive.requests + len(lines)
    return Step(
        kind=archive.kind,
        way=found.way,
        source_id=archive.id,
        source=archive.name,
        account_id=archive.account_id,
        name=archive.name,
        there_id=archive.id if is_there else None,
        there=found.changes.summary if is_there else "",
        was_there=is_there,
        items=found.items,
        bytes=archive.plain_size,
        seconds=round(1 + requests * _SECONDS_PER_REQUEST, 1),
        requests=requests,
        targets=archive.targets,
        risks=(*(("what it changes takes effect at once",) if lines else ()), *found.changes.notes),
        changes=lines,
    )


def _step(archive: Archive, wish: Wish, accounts: Accounts, names: _Names) -> Step:
    cloudflare = accounts.called(wish.account) if wish.account else accounts.client(archive.account_id)
    there = names.of(archive.kind, cloudflare)
    is_home = cloudflare.account_id == archive.account_id
    was_there = is_home and archive.id in there.values()
    way, name, there_id = Way.CREATE, archive.name, None
    if wish.in_place:
        there_id = archive.id if was_there else there.get(archive.name)
        way = Way.CREATE if there_id is None else Way.OVERWRITE
        name = next((called for called, ident in there.items() if ident == there_id), archive.name)
    else:
        name = _free_name(archive, wish, there)
    tables = archive.facts.get("tables", {})
    if archive.kind is Kind.D1:
        items = (
            int(tables[wish.table]["rows"])
            if wish.table in tables
            else sum(int(table["rows"]) for table in tables.values())
        )
        requests = archive.requests + 6
    elif archive.kind is Kind.R2:
        items = int(archive.facts["objects"])
        requests = 2 * items + 4
    else:
        items = int(archive.facts["keys"])
        requests = archive.requests + -(-items // BATCH_PAIRS) + 3
    size = int(archive.facts["bytes"]) if archive.kind is Kind.R2 else archive.plain_size
    return Step(
        kind=archive.kind,
        way=way,
        source_id=archive.id,
        source=archive.name,
        account_id=cloudflare.account_id,
        name=name,
        there_id=there_id,
        there=_there(archive.kind, cloudflare, there_id),
        was_there=was_there,
        items=items,
        bytes=size,
        seconds=round(1 + 2 * size / _BYTES_PER_SECOND + requests * _SECONDS_PER_REQUEST, 1),
        requests=requests,
        targets=archive.targets,
        risks=tuple(_risks(archive, way, wish, is_home=is_home)),
    )


def _free_name(archive: Archive, wish: Wish, there: dict[str, str]) -> str:
    renamed = next((new for old, new in wish.rename if _is_named(archive, (old,))), None)
    if renamed is not None:
        if renamed in there:
            raise Refused(
                f'the account has a {archive.kind.value} called "{renamed}" already',
                hint="Choose another name, or overwrite it with --in-place.",
            )
        return renamed
    if archive.name not in there:
        return archive.name
    base = f"{archive.name}-restored-{archive.captured_at:%Y%m%d-%H%M%S}"
    number, name = 1, base
    while name in there:
        number += 1
        name = f"{base}-{number}"
    return name


def _there(kind: Kind, cloudflare: Cloudflare, there_id: str | None) -> str:
    if there_id is None:
        return ""
    if kind is Kind.KV:
        first = next(iter(cloudflare.kv.keys(there_id)), None)
        return "no keys" if first is None else f"keys from {first.name!r} on"
    if kind is Kind.R2:
        item = next(iter(cloudflare.r2.objects(there_id)), None)
        return "no objects" if item is None else f"objects from {item.key!r} on"
    try:
        return contents_of(cloudflare, there_id)
    except DatabaseNotFound:
        return "deleted meanwhile"


def _risks(archive: Archive, way: Way, wish: Wish, *, is_home: bool) -> Iterable[str]:
    if archive.exactness is Exactness.FUZZY:
        yield "it was written to while it was read, so that its tables are of different moments"
    if way is Way.OVERWRITE:
        what = f"the table {wish.table}" if wish.table else f"keys with {wish.prefix}" if wish.prefix else "it"
        yield f"what was written to {what} since {archive.captured_at:%Y-%m-%d %H:%M:%S} UTC goes"
        yield "services that write meanwhile may be refused, or have their writes replaced"
    elif archive.targets:
        yield f"{', '.join(archive.targets)} won't use it before the config names it and a release follows (--rebind)"
    if not is_home:
        yield "on another account"
    if archive.kind is Kind.KV:
        yield "keys whose expiration has passed are left out"
