"""``clodo backup restore`` and ``clodo backup drill``: snapshots brought back, and shown to come back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clodo.cli.options import JsonOption, ReasonOption, WorkspaceOption, YesOption, read_moment
from clodo.cli.output import ask, moment, number_of, raise_if_nobody_can_be_asked, say, show, show_json, show_table
from clodo.cli.session import open_ledger, open_workspace, prefect_for

SnapshotArgument = Annotated[
    str | None, typer.Argument(metavar="SNAPSHOT", help="Its id or how that begins; the newest if left out.")
]
VaultOption = Annotated[str | None, typer.Option("--vault", metavar="NAME", help="Read it from this vault.")]
IdentityOption = Annotated[
    Path | None,
    typer.Option("--identity", metavar="FILE", help="Private age key; that of the Vault block is used too."),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="ARCHIVE", help="Only this one, such as d1/shop; repeat for several."),
]
AsOption = Annotated[
    list[str] | None,
    typer.Option("--as", metavar="[OLD=]NEW", help="What to call the new resource; OLD= when there are several."),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="MOMENT",
        help="Take databases back by Time Travel: 2026-11-20T03:00:00Z, within 30 days; with --in-place.",
    ),
]


def restore(
    context: typer.Context,
    snapshot: SnapshotArgument = None,
    only: OnlyOption = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Overwrite what is there, after a safety snapshot.")
    ] = False,
    table: Annotated[
        str | None, typer.Option("--table", metavar="TABLE", help="Only this table of the one database.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="PREFIX", help="Only keys of the one namespace that begin so.")
    ] = None,
    rename: AsOption = None,
    account: Annotated[
        str | None, typer.Option("--account", metavar="BLOCK", help="Into the account of this block.")
    ] = None,
    at: AtOption = None,
    rebind: Annotated[
        bool, typer.Option("--rebind", help="Name what came back in the wrangler configs, and release the services.")
    ] = False,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="FINGERPRINT", help="Do what that plan said, or nothing.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    vault: VaultOption = None,
    identity: IdentityOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Restore a snapshot: into new databases, namespaces and buckets, or in place.

    The records of a zone, and routes, schedules and settings of a Worker, are put into what is there when it is named,
    as in --only dns/example.com or --only worker/shop. What the snapshot doesn't have stays, or goes with --in-place;
    so does other code. A Worker that is gone is uploaded again; what of it no snapshot has is said.

    Shows a plan first, and asks. What comes back is compared with the manifest, table by table and key by key; when it
    isn't what was backed up, or anything else fails, everything is put back. A restore that was killed goes on when the
    same command is run again.

    With --json: {"plan": {"fingerprint", "snapshot", "vault", "taken_at", "table", "prefix", "steps": [{"kind", "way",
    "source_id", "source", "account_id", "name", "there_id", "there", "was_there", "items", "bytes", "seconds",
    "requests", "bookmark", "targets", "risks", "changes"}], "seconds", "requests", "left"}, "restored": {"snapshot",
    "vault", "resources": [{"kind", "way", "source", "source_id", "name", "id", "account_id", "items", "expired",
    "seconds", "bookmark_before", "targets", "notes"}], "safety", "seconds", "was_resumed"}, "rebound": [{"target",
    "binding", "resource", "id", "diff"}]}. "restored" is null with --dry-run.

    Exit status: 0 restored and verified, 1 failed (and put back, unless it says otherwise), 2 bad configuration or
    usage, 4 refused (declined, stale, a name is taken), 10 no such snapshot or nothing in it, 11 locked, 12 not
    authorised or no key that opens it, 75 try later, 130 interrupted (and put back).
    """
    question = "Restore as planned?"
    loaded = open_workspace(context, workspace)
    parameters: dict[str, Any] = {
        "workspace": str(loaded.root),
        "snapshot": snapshot,
        "only": only,
        "in_place": in_place,
        "table": table,
        "prefix": prefix,
        "rename": _names(rename, only),
        "account": account,
        "at": read_moment("--at", at),
        "vault": vault,
        "identity": str(identity) if identity is not None else None,
        "reason": reason,
    }
    must_ask = not (dry_run or yes or plan)
    if must_ask:
        raise_if_nobody_can_be_asked(question)
    with prefect_for(context, loaded.root):
        from flows.restore_snapshot import restore_snapshot

        if dry_run or plan is None:
            drawn = restore_snapshot(**parameters, dry_run=True, plan=plan)["plan"]
            if not (as_json and dry_run):
                _show_plan(drawn, to=say if as_json else show)
            if dry_run:
                if as_json:
                    show_json({"plan": drawn, "restored": None, "rebound": []})
                else:
                    show(f"Nothing was done. To do exactly this: --plan {drawn['fingerprint']}")
                return
            if must_ask:
                ask(question, yes=False)
            plan = drawn["fingerprint"]
        done = restore_snapshot(**parameters, plan=plan, rebind=rebind)
    if as_json:
        show_json(done)
        return
    _show_restored(done, rebind=rebind)


def drill(
    context: typer.Context,
    snapshot: SnapshotArgument = None,
    account: Annotated[
        str | None, typer.Option("--account", metavar="BLOCK", help="Scratch resources on the account of this block.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Only list the drills that there were.")] = False,
    vault: VaultOption = None,
    identity: IdentityOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Restore the newest good snapshot into scratch databases and namespaces, compare, measure, and remove them.

    It is compared with the manifest, never with the live resources, which have moved on. What a killed drill left is
    removed first. How long it took (RTO) and how old the snapshot was (RPO) are kept in the ledger.

    With --json: {"id", "portfolio", "snapshot", "vault", "at", "is_good", "rto_seconds", "rpo_seconds", "items",
    "problem"}; with --history a list of these, oldest first.

    Exit status: 0 it comes back, 1 it does not, or nobody we trust signed it, 2 bad configuration, 10 no good snapshot,
    11 another drill runs, 12 not authorised or no key that opens it, 75 try later.
    """
    loaded = open_workspace(context, workspace)
    if history:
        _show_history(loaded.root, loaded.portfolio.name, as_json=as_json)
        return
    with prefect_for(context, loaded.root):
        from flows.drill_snapshot import drill_snapshot

        done = drill_snapshot(
            workspace=str(loaded.root),
            snapshot=snapshot,
            vault=vault,
            identity=str(identity) if identity is not None else None,
            account=account,
        )
    if as_json:
        show_json(done)
        return
    from clodo.backups.drilling_trend import duration

    show(
        f"{done['snapshot']} of {done['vault']} comes back: {done['items']:,} rows and keys in"
        f" {duration(done['rto_seconds'])}; {duration(done['rpo_seconds'])} of writes would be lost."
    )


def _show_history(folder: Path, portfolio: str, *, as_json: bool) -> None:
    from clodo.backups.drilling_trend import duration, sparkline

    with open_ledger(folder) as ledger:
        drills = ledger.drills.latest(portfolio, limit=100)
    if as_json:
        show_json([item.to_json() for item in drills])
        return
    show_table(
        ("drill", "snapshot", "vault", "comes back", "rto", "rpo", "items", "problem"),
        [
            (
                moment(item.at),
                item.snapshot,
                item.vault,
                "yes" if item.is_good else "NO",
                duration(item.rto_seconds),
                duration(item.rpo_seconds),
                f"{item.items:,}",
                item.problem,
            )
            for item in drills
        ],
        empty="No drills.",
    )
    if drills:
        show(f"RTO {sparkline([item.rto_seconds for item in drills if item.is_good])}")


def _show_plan(drawn: dict[str, Any], *, to: Any) -> None:
    if to is show:
        show_table(
            ("from", "way", "to", "now there", "items", "bytes"),
            [
                (
                    f"{step['kind']}/{step['source']}",
                    step["way"],
                    step["name"],
                    step["there"] or None,
                    f"{step['items']:,}",
                    f"{step['bytes']:,}",
                )
                for step in drawn["steps"]
            ],
            empty="Nothing to do.",
        )
    else:
        for step in drawn["steps"]:
            to(f"{step['way']} {step['kind']}/{step['name']} from {step['source']}: {step['items']:,} items")
    for step in drawn["steps"]:
        for change in step["changes"]:
            to(f"{step['kind']}/{step['name']}: {change}")
        for risk in step["risks"]:
            to(f"{step['kind']}/{step['name']}: {risk}")
    for item in drawn["left"]:
        to(f"left: {item['archive']}: {item['why']}")
    source = f"snapshot {drawn['snapshot']} in the vault {drawn['vault']}" if drawn["snapshot"] else "Time Travel"
    to(
        f"Plan {drawn['fingerprint']}: {source}, as of {drawn['taken_at'][:19].replace('T', ' ')} UTC;"
        f" about {drawn['requests']} requests and {drawn['seconds']:.0f} s."
    )


def _show_restored(done: dict[str, Any], *, rebind: bool) -> None:
    restored = done["restored"]
    show_table(
        ("resource", "way", "id", "verified", "seconds"),
        [
            (f"{item['kind']}/{item['name']}", item["way"], item["id"], f"{item['items']:,}", f"{item['seconds']:.1f}")
            for item in restored["resources"]
        ],
        empty="Nothing.",
    )
    for item in restored["resources"]:
        if item["expired"]:
            show(f"{item['kind']}/{item['name']}: {item['expired']:,} keys had expired and were left out.")
        if item["bookmark_before"]:
            show(f"{item['kind']}/{item['name']}: before this it was at bookmark {item['bookmark_before']}.")
        for note in item["notes"]:
            show(f"{item['kind']}/{item['name']}: {note}")
    if restored["safety"]:
        show(f"What was there before is in the safety snapshot {restored['safety']}.")
    for item in done["rebound"]:
        if item["diff"]:
            show(item["diff"].rstrip("\n"))
    targets = sorted({item["target"] for item in done["rebound"]})
    if targets and rebind:
        show(f"{', '.join(targets)} released with the new binding.")
    elif targets:
        say(
            f"{', '.join(targets)} still lead to what was there before."
            f" Change the config as shown, then: clodo deploy {' '.join(targets)}. (--rebind does both.)"
        )
    count = sum(item["items"] for item in restored["resources"])
    show(
        f"Restored {number_of(len(restored['resources']), 'resource')}, {count:,} rows and keys compared with the"
        f" manifest, in {restored['seconds']:.1f} s."
    )


def _names(given: list[str] | None, only: list[str] | None) -> dict[str, str]:
    from clodo.errors import BadUsage

    names: dict[str, str] = {}
    for text in given or ():
        old, equals, new = text.partition("=")
        if not equals:
            if len(only or ()) != 1:
                raise BadUsage(
                    f'--as "{text}" does not say which archive is meant', hint="Write --as OLD=NEW, or name one --only."
                )
            old, new = (only or [""])[0], text
        if not old or not new:
            raise BadUsage(f'--as "{text}" has an empty name')
        names[old] = new
    return names
