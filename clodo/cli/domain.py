"""``clodo domain``: zones, whom they serve, and whether requests reach their Workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clodo.cli.options import JsonOption, WorkspaceOption
from clodo.cli.output import moment, say, short, show, show_json, show_table
from clodo.cli.session import open_ledger, open_workspace, prefect_for
from clodo.errors import BadUsage, PartlyDone, VerificationFailed, ZoneNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare
    from clodo.domains.access import Seen
    from clodo.domains.checking import Check
    from clodo.domains.zone_cache import Listed
    from clodo.releases.site import AccountKeys
    from clodo.workspace.workspace import Workspace

AccountOption = Annotated[
    str | None,
    typer.Option("--account", metavar="BLOCK", help="Block whose token is asked; all of the portfolio's if left out."),
]
RefreshOption = Annotated[bool, typer.Option("--refresh", help="Ask Cloudflare even if it was asked minutes ago.")]

app = typer.Typer(help="Domains: which zones there are, whom they serve, and whether they work.", no_args_is_help=True)


@app.command("list")
def list_domains(
    context: typer.Context,
    account: AccountOption = None,
    refresh: RefreshOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    List the zones of all accounts that the tokens see, with the targets and customers that each serves.

    What a token sees is remembered for five minutes. A right that it lacks becomes a note.

    With --json: {"zones": [{"zone": {"id", "name", "status", "paused", "account_id", "account_name", "name_servers"},
    "hosts", "targets", "customers"}], "notes": [text], "read_at": {block: time}}; "zone" is null for hosts that no zone
    holds.

    Exit status: 0 listed, 2 bad configuration, 12 not authorised, 75 try later.
    """
    from clodo.domains.matching import hosts_of_workspace, match

    loaded = open_workspace(context, workspace)
    with _asked(context, loaded, account, refresh=refresh) as asked:
        listed = asked.listed
        seen = _together(listed)
        found = match(seen, hosts_of_workspace(loaded))
    if as_json:
        read_at = {block: one.read_at.isoformat() for block, one in listed.items()}
        show_json({"zones": [item.to_json() for item in found], "notes": list(seen.notes), "read_at": read_at})
        return
    rows = [
        (
            item.zone.name if item.zone else "(no zone)",
            (item.zone.status if not item.zone.paused else "paused") if item.zone else None,
            (item.zone.account_name or short(item.zone.account_id)) if item.zone else None,
            short(item.zone.id) if item.zone else ", ".join(host.name for host in item.hosts[:3]),
            ", ".join(item.customers) or None,
            _several(item.targets),
        )
        for item in found
    ]
    show_table(("zone", "status", "account", "id", "customers", "targets"), rows, empty="The tokens see no zones.")
    for note in seen.notes:
        say(f"Note: {note}")
    for block, one in listed.items():
        if one.is_cached:
            say(f"What {block} sees was asked at {moment(one.read_at)} UTC; --refresh asks again.")


@app.command("discover")
def discover_domains(
    context: typer.Context,
    zone: Annotated[
        str | None, typer.Argument(metavar="ZONE", help="Only this zone; all if left out.", show_default=False)
    ] = None,
    account: AccountOption = None,
    refresh: RefreshOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Compare the routes and custom domains on Cloudflare with those that the configs name.

    With --json: {"found": [{"kind", "pattern", "zone", "worker", "targets", "standing"}], "notes": [text]}; "standing"
    is "as configured", "only on Cloudflare" or "only configured".

    Exit status: 0 listed, 2 bad configuration, 10 no such zone, 12 not authorised, 75 try later.
    """
    from clodo.domains.matching import Discovered, discover
    from clodo.errors import ApiRefused, PermissionMissing

    loaded = open_workspace(context, workspace)
    found: list[Discovered] = []
    with _asked(context, loaded, account, refresh=refresh) as asked:
        listed = asked.listed
        notes = list(_together(listed).notes)
        chosen = [
            (asked.client(block, item.account_id), item)
            for block, one in listed.items()
            for item in one.seen.zones
            if zone in (None, item.name)
        ]
        if zone is not None and not chosen:
            raise ZoneNotFound(f"the tokens see no zone {zone}", hint="`clodo domain list --refresh` shows them.")
        for client, item in {item.id: (client, item) for client, item in chosen}.values():
            try:
                routes = client.routes.list(item.id)
                domains = client.domains.list(zone_id=item.id)
            except (PermissionMissing, ApiRefused) as error:
                notes.append(f"{item.name} was left out: {error.message}")
                continue
            found += discover(loaded, item, routes, domains)
    if as_json:
        show_json({"found": [item.to_json() for item in found], "notes": notes})
        return
    rows = [(item.zone, item.kind, item.pattern, item.worker, _several(item.targets), item.standing) for item in found]
    show_table(("zone", "kind", "pattern", "worker", "target", "standing"), rows, empty="No routes, no custom domains.")
    for note in notes:
        say(f"Note: {note}")


@app.command("validate")
def validate_domains(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="A hostname, customer or target; all if left out.", show_default=False),
    ] = None,
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Request the hostname's front page, too.")] = True,
    account: AccountOption = None,
    refresh: RefreshOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Check whether requests for hostnames reach their Workers: zone, nameservers, route and DNS record, certificate.

    And whether the Worker answers. A right that the token lacks leaves its check out, with a note that names it.

    With --json: {"hosts": [{"host", "targets", "customers", "ok", "checks": [{"about", "standing", "what",
    "remedy"}]}], "notes": [text]}; "standing" is good, bad or note.

    Exit status: 0 all good, 1 none is, 2 bad configuration, 3 some are not, 10 no such name, 12 not authorised, 75 try
    later.
    """
    from clodo.domains.checking import Standing, asker, gather, judge

    loaded = open_workspace(context, workspace)
    hosts = _chosen(loaded, names)
    results: list[dict[str, Any]] = []
    with _asked(context, loaded, account, refresh=refresh) as asked:
        listed = asked.listed
        for host in hosts:
            block, one = next(
                ((block, one) for block, one in listed.items() if one.seen.zone_for(host.name) is not None),
                next(iter(listed.items())),
            )
            zone = one.seen.zone_for(host.name)
            client = asked.client(block, zone.account_id if zone else "")
            checks = tuple(judge(gather(client, host.name, zone, asker(asked.edges[block]) if ask else None)))
            results.append(
                {
                    "host": host.name,
                    "targets": list(host.targets),
                    "customers": list(host.customers),
                    "ok": all(check.standing is not Standing.BAD for check in checks),
                    "checks": checks,
                }
            )
        notes = list(_together(listed).notes)
    _show_checked(results, notes, as_json=as_json)
    bad = [item["host"] for item in results if not item["ok"]]
    if bad:
        error = VerificationFailed if len(bad) == len(results) else PartlyDone
        raise error(f"{len(bad)} of {len(results)} hostnames don't work: {', '.join(bad[:5])}")


def _show_checked(results: list[dict[str, Any]], notes: list[str], *, as_json: bool) -> None:
    if as_json:
        hosts = [{**item, "checks": [check.to_json() for check in item["checks"]]} for item in results]
        show_json({"hosts": hosts, "notes": notes})
        return
    for item in results:
        show(f"{item['host']}: {'good' if item['ok'] else 'does not work'}")
        for check in item["checks"]:
            show(f"    {_line(check)}")
    if not results:
        show("The workspace names no hostname.")
    for note in notes:
        say(f"Note: {note}")


def _line(check: Check) -> str:
    remedy = f" {check.remedy}" if check.remedy else ""
    return f"{check.standing.value:5} {check.about}: {check.what}.{remedy}"


def _several(names: tuple[str, ...]) -> str | None:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else None


def _chosen(loaded: Workspace, names: list[str] | None) -> list[Any]:
    from clodo.customers.names import domain_of
    from clodo.domains.matching import Host, hosts_of_workspace

    known = hosts_of_workspace(loaded)
    if not names:
        return [host for host in known if host.targets]
    chosen: dict[str, Host] = {}
    customers = {settings.customer for settings in loaded.customers}
    for name in names:
        if name in customers:
            mine = [host for host in known if name in host.customers and host.targets]
        elif "@" in name or any(service.name == name for service in loaded.services):
            target = str(loaded.find(name))
            mine = [host for host in known if target in host.targets]
        else:
            host = domain_of(name)
            mine = [item for item in known if item.name == host] or [Host(host, (), (), "")]
        chosen |= {host.name: host for host in mine}
    if not chosen:
        raise ZoneNotFound(f"{', '.join(names)}: no hostname is configured there", hint="Add a route to the config.")
    return [chosen[name] for name in sorted(chosen)]


def _blocks(loaded: Workspace, account: str | None) -> list[str]:
    if account is not None:
        return [account]
    return sorted({environment.account for environment in loaded.portfolio.environments.values()})


@contextmanager
def _asked(context: typer.Context, loaded: Workspace, account: str | None, *, refresh: bool) -> Iterator[Asked]:
    """Ask with the token of each block, from the ledger where that was done minutes ago."""
    from contextlib import ExitStack

    blocks = _blocks(loaded, account)
    with prefect_for(context, loaded.root), ExitStack() as stack, open_ledger(loaded.root) as ledger:
        from clodo.cloudflare.client import Cloudflare
        from clodo.domains.zone_cache import seen_zones
        from tasks.customers import SavedAccounts

        accounts = SavedAccounts()
        found: dict[str, AccountKeys] = {}
        for block in blocks:
            keys = accounts.keys_if_saved(block)
            if keys is not None:
                found[block] = keys
            elif len(blocks) > 1:
                say(f"Note: the block {block} was left out: nobody saved it.")
        if not found:
            raise BadUsage(
                f"no account can be asked: there is no block {' or '.join(blocks)}",
                hint=f"Save one: clodo secrets token {blocks[0]} --account-id ID",
            )
        opened: dict[tuple[str, str], Cloudflare] = {}

        def client(block: str, account_id: str) -> Cloudflare:
            keys = found[block]
            key = block, account_id or keys.account_id
            if key not in opened:
                opened[key] = stack.enter_context(Cloudflare(key[1], keys.token, keys.base_url))
            return opened[key]

        listed: dict[str, Listed] = {}
        for block, keys in found.items():
            listed[block] = seen_zones(
                ledger,
                keys.token,
                keys.base_url,
                lambda account_id, keys=keys: Cloudflare(account_id, keys.token, keys.base_url),  # type: ignore[misc]
                refresh=refresh,
            )
        yield Asked(client, listed, {block: keys.edge_url for block, keys in found.items()})


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What was asked of accounts.

    Attributes:
        client: Gives a client by block and account id; the block's own account for an empty id.

        listed: What the token of each block sees.

        edges: Where Workers of a block's account are reached instead of by DNS.
    """

    client: Callable[[str, str], Cloudflare]
    listed: dict[str, Listed]
    edges: dict[str, str | None]


def _together(listed: dict[str, Listed]) -> Seen:
    from clodo.domains.access import Seen

    zones = {zone.id: zone for one in listed.values() for zone in one.seen.zones}
    accounts = {key: name for one in listed.values() for key, name in one.seen.accounts.items()}
    notes = tuple(
        f"{block}: {note}" if len(listed) > 1 else note for block, one in listed.items() for note in one.seen.notes
    )
    return Seen(accounts, tuple(sorted(zones.values(), key=lambda zone: zone.name)), notes)
