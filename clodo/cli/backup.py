"""``clodo backup``: snapshots taken, looked at, proven, restored and pruned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from clodo.cli.backup_restore import drill, restore
from clodo.cli.options import JsonOption, ReasonOption, SomeTargetsArgument, WorkspaceOption, YesOption
from clodo.cli.output import ask, moment, number_of, say, short, show, show_json, show_table
from clodo.cli.session import open_ledger, open_workspace, prefect_for
from clodo.workspace.backup_settings import ALL_KINDS

if TYPE_CHECKING:
    from clodo.backups.backups import Backups, Listed
    from clodo.workspace.workspace import Workspace

SnapshotArgument = Annotated[
    str | None, typer.Argument(metavar="SNAPSHOT", help="Its id or how that begins; the newest if left out.")
]
VaultOption = Annotated[str | None, typer.Option("--vault", metavar="NAME", help="Only this vault.")]
IdentityOption = Annotated[
    Path | None,
    typer.Option("--identity", metavar="FILE", help="Private age key; that of the Vault block is used too."),
]
KindOption = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="KIND", help=f"Only these: {', '.join(ALL_KINDS)}; repeat for several."),
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="Services with this tag; repeat for several.")
]
LevelOption = Annotated[
    str, typer.Option("--level", metavar="LEVEL", help="hashes, open (needs the age key) or restore (and compares).")
]

app = typer.Typer(help="Snapshots: taken, looked at, proven, restored and pruned.", no_args_is_help=True)


@app.command()
def create(
    context: typer.Context,
    targets: SomeTargetsArgument = None,
    tag: TagOption = None,
    kind: KindOption = None,
    reason: ReasonOption = "",
    export: Annotated[
        bool, typer.Option("--export", help="Read databases by Cloudflare's export, in the window for that only.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Take a snapshot of what the targets' bindings name, and publish it in every vault.

    A database is read while it goes on answering; two bookmarks prove that it stood still meanwhile. What did not
    change since the snapshot before is not read again. With --export databases answer nobody while they are read; those
    that Cloudflare can't export, such as ones with full-text tables, are read as without it.

    With --json: the manifest, see docs/backups.md.

    Exit status: 0 published, all of it as it was at one moment, 2 bad configuration, 3 published but something is
    missing or was written to while it was read, 4 --export outside of the window of [backups.export], 10 nothing to
    back up, 11 locked, 12 not authorised, 75 try later.
    """
    from clodo.errors import BadUsage

    unknown = [name for name in kind or () if name not in ALL_KINDS]
    if unknown:
        raise BadUsage(f'"{unknown[0]}" is no kind', hint=f"There are: {', '.join(ALL_KINDS)}.")
    loaded = open_workspace(context, workspace)
    with prefect_for(context, loaded.root):
        from flows.back_up import back_up

        manifest = back_up(
            workspace=str(loaded.root), targets=targets, tags=tag, kinds=cast(Any, kind), reason=reason, export=export
        )
    if as_json:
        show_json(manifest)
        return
    own = sum(item["size"] for item in manifest["archives"] if item["captured_in"] == manifest["id"])
    show(
        f"Published {manifest['id']}: {number_of(len(manifest['archives']), 'archive')}, {own:,} new bytes,"
        f" {manifest['seconds']:.1f} s."
    )


@app.command(name="list")
def list_snapshots(
    context: typer.Context,
    everyone: Annotated[bool, typer.Option("--all", help="Other portfolios in the same vaults too.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    List snapshots, oldest first, with when each was last proven.

    With --json: [{"id", "vault", "portfolio", "created_at", "seconds", "is_good", "exactness", "size", "own_size",
    "archives", "missing", "verified_at", "verified_level", "found_wrong", "is_whole", "is_lost"}].

    Exit status: 0 listed, 2 bad configuration, 12 not authorised, 75 the vault can't be reached.
    """
    from dataclasses import asdict

    with _opened(context, workspace) as backups:
        found = backups.all(of_all=everyone)
    if as_json:
        show_json([{**asdict(item.record), "is_lost": item.is_lost} for item in found])
        return
    ids = [item.record.id for item in found]
    show_table(
        ("snapshot", "vault", "taken", "state", "bytes", "new", "archives", "proven"),
        [
            (
                short(item.record.id, among=ids),
                item.record.vault,
                moment(item.record.created_at),
                _state(item),
                f"{item.record.size:,}",
                f"{item.record.own_size:,}",
                item.record.archives,
                f"{item.record.verified_level} {moment(item.record.verified_at)}" if item.record.verified_at else None,
            )
            for item in found
        ],
        empty="No snapshots.",
    )


@app.command(name="show")
def show_snapshot(
    context: typer.Context,
    snapshot: SnapshotArgument = None,
    vault: VaultOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show what is in a snapshot, after checking who signed it.

    With --json: the manifest, see docs/backups.md.

    Exit status: 0 shown, 1 damaged or signed by nobody we trust, 2 bad configuration, 10 no such snapshot,
    75 the vault can't be reached.
    """
    with _opened(context, workspace) as backups:
        manifest = backups.manifest(backups.find(snapshot), vault=vault)
    if as_json:
        show_json(manifest.to_json())
        return
    show_table(
        ("archive", "exactness", "rows", "bytes", "plain", "read in", "requests", "targets"),
        [
            (
                archive.label,
                archive.exactness.value,
                _rows(archive.facts),
                f"{archive.size:,}",
                f"{archive.plain_size:,}",
                "this one" if archive.captured_in == manifest.id else archive.captured_in,
                archive.requests,
                ", ".join(archive.targets) or None,
            )
            for archive in manifest.archives
        ],
        empty="It holds nothing.",
    )
    for item in manifest.missing:
        show(f"missing: {item.kind.value}/{item.name}: {item.why}")
    state = "good" if manifest.is_good else "not good"
    show(
        f"{manifest.id} of {manifest.portfolio}, taken {moment(manifest.created_at)},"
        f" signed by {manifest.signer}: {state}."
    )


@app.command()
def verify(
    context: typer.Context,
    snapshot: SnapshotArgument = None,
    level: LevelOption = "hashes",
    vault: VaultOption = None,
    identity: IdentityOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Prove that a snapshot is what was written, in every vault.

    hashes: the signature, and every byte of every part. open: decrypted and read to its end too. restore: each
    database made anew on this machine, checked, and compared row by row with what the manifest says of the source.

    With --json: [{"snapshot", "vault", "level", "is_good", "archives", "bytes", "rows", "findings", "notes"}].

    Exit status: 0 it is, 1 it is not, 2 bad configuration, 10 no such snapshot, 12 no key that opens it,
    75 the vault can't be reached.
    """
    from clodo.backups.verification import Level
    from clodo.errors import BadUsage

    if level not in [item.value for item in Level]:
        raise BadUsage(f'"{level}" is no level', hint="There are: hashes, open, restore.")
    loaded = open_workspace(context, workspace)
    with prefect_for(context, loaded.root):
        from flows.verify_snapshot import verify_snapshot

        found = verify_snapshot(
            workspace=str(loaded.root),
            snapshot=snapshot,
            level=Level(level),
            vault=vault,
            identity=str(identity) if identity is not None else None,
        )
    if as_json:
        show_json(found)
        return
    for item in found:
        for note in item["notes"]:
            show(f"note: {note}")
        rows = f", {number_of(item['rows'], 'row')}" if item["rows"] else ""
        show(
            f"{item['snapshot']} in {item['vault']} is good:"
            f" {number_of(item['archives'], 'archive')}, {item['bytes']:,} bytes{rows}."
        )


@app.command()
def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    reason: ReasonOption = "",
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Delete the snapshots that [backups.keep] of portfolio.toml lets go, and what interrupted backups left.

    The newest good snapshot always stays, and so does one that is being restored.

    With --json: [{"vault", "snapshots": [{"id", "created_at", "is_good", "stays", "reasons"}], "parts", "bytes"}].

    Exit status: 0 pruned, 1 a manifest can't be read or trusted, 2 bad configuration, 4 declined, 11 locked,
    75 the vault can't be reached.
    """
    loaded = open_workspace(context, workspace)
    if not dry_run:
        ask("Delete the snapshots that the rules let go? That can't be taken back.", yes=yes)
    with prefect_for(context, loaded.root):
        from flows.prune_snapshots import prune_snapshots

        found = prune_snapshots(workspace=str(loaded.root), dry_run=dry_run, reason=reason)
    if as_json:
        show_json(found)
        return
    for place in found:
        ids = [item["id"] for item in place["snapshots"]]
        show_table(
            ("snapshot", "taken", "good", "stays", "because"),
            [
                (
                    short(item["id"], among=ids),
                    item["created_at"][:19].replace("T", " "),
                    "yes" if item["is_good"] else "no",
                    "yes" if item["stays"] else "no",
                    ", ".join(item["reasons"]) or None,
                )
                for item in place["snapshots"]
            ],
            empty="No snapshots.",
        )
        gone = sum(1 for item in place["snapshots"] if not item["stays"])
        verb = "Would delete" if dry_run else "Deleted"
        what = f"{number_of(gone, 'snapshot')} and {number_of(place['parts'], 'part')} ({place['bytes']:,} bytes)"
        show(f"{verb} {what} in {place['vault']}.")


@app.command()
def key(
    context: typer.Context,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Make a new age identity and write it there.")
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Protect FILE by a passphrase: asked for, or read from standard input.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Show this machine's public signing key, and make an age identity to open snapshots with.

    The identity is written to FILE, readable by its owner only, and never over a file that is there. Keep a copy where
    the vault is not: without it nobody reads the snapshots.

    With --json: {"signer", "recipient", "identity_file"}; the last two are null without --write.

    Exit status: 0 shown, 2 FILE is there already or can't be written, 2 bad configuration.
    """
    from clodo.backups.identity_files import write_identity
    from clodo.backups.signing import Signer
    from clodo.errors import BadUsage

    if passphrase and write is None:
        raise BadUsage("--passphrase protects a file, and none is named", hint="Name one: --write identity.txt.age")
    loaded = open_workspace(context, workspace)
    signer = Signer.load(loaded.state_dir).public_key
    words = _new_passphrase() if passphrase else None
    recipient = write_identity(write, words) if write is not None else None
    if as_json:
        show_json({"signer": signer, "recipient": recipient, "identity_file": str(write) if write else None})
        return
    show(f"signer:    {signer}")
    if recipient is not None:
        show(f"recipient: {recipient}")
        say(f"The private key is in {write}. Put the recipient into [backups] of portfolio.toml:")
        say(f'recipients = ["{recipient}"]')


def _new_passphrase() -> str:
    """Ask for a passphrase twice; where nobody sits, read it from standard input."""
    import getpass
    import sys

    from clodo.errors import BadUsage

    if not sys.stdin.isatty():
        return sys.stdin.read().rstrip("\r\n")
    first = getpass.getpass("Passphrase: ")
    if getpass.getpass("The same again: ") != first:
        raise BadUsage("the two passphrases are not the same", hint="Run it again.")
    return first


@contextmanager
def _opened(context: typer.Context, given: Path | None) -> Iterator[Backups]:
    """Open the backups to look at them; Prefect is asked only for the vaults that are saved there."""
    loaded = open_workspace(context, given)
    if loaded.portfolio.backups.vaults:
        with prefect_for(context, loaded.root):
            from tasks.backups import open_backups

            with open_backups(str(loaded.root)) as (_, backups):
                yield backups
        return
    with _without_prefect(loaded) as backups:
        yield backups


@contextmanager
def _without_prefect(loaded: Workspace) -> Iterator[Backups]:
    import getpass

    from clodo.backups.backups import Backups, local_vault

    with open_ledger(loaded.root) as ledger:
        yield Backups(loaded, ledger, [local_vault(loaded.state_dir)], actor=getpass.getuser(), say=say)


def _state(item: Listed) -> str:
    if item.is_lost:
        return "LOST"
    if item.record.found_wrong:
        return "WRONG"
    if item.record.is_good:
        return "good" if item.record.is_whole else "partial"
    return "incomplete" if item.record.missing else item.record.exactness


def _rows(facts: Any) -> str | None:
    if "tables" in facts:
        return f"{sum(table['rows'] for table in facts['tables'].values()):,}"
    count = facts.get("keys", facts.get("objects", facts.get("records")))
    return None if count is None else f"{count:,}"


app.command()(restore)
app.command()(drill)
