"""The first questions of a guided flow: which token, what it may do, which domain."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clodo.cli.guided.answers import Answers
from clodo.cli.output import say, short
from clodo.errors import BadConfiguration, BadUsage, PermissionMissing, ZoneNotFound

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare
    from clodo.domains.access import Seen, SeenZone
    from tasks.customers import TokenToKeep

CLOUDFLARE_API = "https://api.cloudflare.com/client/v4"


@dataclass(frozen=True, slots=True)
class Access:
    """
    A token that was verified, and what it sees.

    Attributes:
        block: Of the environment's account.

        is_new: Whether it is another one than the block has.

        saved_account: The account that the block is for; None when nobody saved it.
    """

    block: str
    token: str = field(repr=False)
    base_url: str
    edge_url: str | None
    is_new: bool
    saved_account: str | None
    token_id: str
    seen: Seen

    def client(self, account_id: str) -> Cloudflare:
        """Return a client for one of its accounts; use it as a context manager."""
        from clodo.cloudflare.client import Cloudflare

        return Cloudflare(account_id, self.token, self.base_url)

    def to_keep(self, account_id: str) -> TokenToKeep:
        """Return what the block of *account_id* shall have."""
        from tasks.customers import TokenToKeep

        return TokenToKeep(self.block, account_id, self.token, self.token_id, self.base_url, self.edge_url, self.is_new)


def token_from_stdin() -> str:
    """
    Read a token that is piped in.

    Raises:
        BadUsage: Standard input is a terminal, or holds no token.
    """
    text = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    if len(text.split()) != 1:
        raise BadUsage("standard input holds no token", hint="Pipe the token in, and nothing else.")
    return text


def find_access(
    answers: Answers,
    block: str,
    *,
    token_stdin: bool,
    api_root: str | None,
    edge_url: str | None,
    wants_new: bool = False,
) -> Access:
    """
    Find a token, verify it and look around with it; prefers the one that is saved when nobody is asked.

    Args:
        wants_new: Whether the saved one shall be replaced.

    Raises:
        NotAuthorised: Cloudflare doesn't take it.

        Refused: There is none, and nobody can be asked.
    """
    from clodo.cloudflare.client import Cloudflare
    from clodo.domains.access import look_around, verify
    from clodo.logs import mask_every_record, register_secret
    from tasks.customers import SavedAccounts

    saved = SavedAccounts().keys_if_saved(block)
    base_url = api_root or (saved.base_url if saved is not None else CLOUDFLARE_API)
    edge = edge_url or (saved.edge_url if saved is not None else None)
    if token_stdin:
        token = token_from_stdin()
    elif saved is not None and not wants_new and _keeps_saved(answers, block):
        token = saved.token
    else:
        token = answers.password("API token (it is not shown):", "--token-stdin")
    mask_every_record()
    register_secret(token)

    def open_client(account_id: str) -> Cloudflare:
        return Cloudflare(account_id, token, base_url)

    say("Verifying the token …")
    seen = look_around(open_client)
    token_id = verify(open_client, seen)
    say(f"The token {short(token_id)} is active and sees {len(seen.zones)} zones in {len(seen.accounts)} accounts.")
    for note in seen.notes:
        say(f"Note: {note}")
    if not seen.zones:
        raise PermissionMissing(
            "the API token lacks the permission Zone: Read: it sees no domain",
            hint="Add Zone: Read for the domain to the token in the dashboard, or use another token.",
        )
    is_new = saved is None or saved.token != token
    return Access(block, token, base_url, edge, is_new, saved.account_id if saved else None, token_id, seen)


def choose_zone(answers: Answers, access: Access, domain: str | None) -> tuple[SeenZone, str]:
    """
    Choose a domain of those that the token sees; say its account and zone.

    Raises:
        ZoneNotFound: The token sees no zone that holds *domain*.

        BadConfiguration: It belongs to another account than the environment's.
    """
    from clodo.customers.names import domain_of

    if domain is not None:
        host = domain_of(domain)
        zone = access.seen.zone_for(host)
    else:
        choices = {zone.id: f"{zone.name}  ({zone.status}, {_account(zone)})" for zone in access.seen.zones}
        chosen = answers.choose("Which zone?", choices, None, "--domain")
        zone = next(zone for zone in access.seen.zones if zone.id == chosen)
        host = domain_of(
            answers.text(
                "Domain, the zone's name or one below it:", None, "--domain", default=zone.name, check=_in(zone)
            )
        )
    if zone is None:
        names = ", ".join(zone.name for zone in access.seen.zones[:5])
        raise ZoneNotFound(f"the token sees no zone that holds {host}", hint=f"It sees {names}.")
    say(f"Account {_account(zone)} ({zone.account_id}), zone {zone.name} ({zone.id}), {zone.status}.")
    if access.saved_account is not None and zone.account_id != access.saved_account:
        raise BadConfiguration(
            f"the block {access.block} is for the account {access.saved_account}, not {zone.account_id}",
            hint="Choose a domain of that account, or give the environment another account in portfolio.toml.",
        )
    return zone, host


def raise_if_rights_are_missing(access: Access, account_id: str, zone_id: str | None) -> tuple[str, ...]:
    """
    List the token's permissions; return the names of those that are missing and not needed.

    Raises:
        PermissionMissing: One that is needed isn't there.
    """
    from clodo.domains.access import probe

    missing: list[str] = []
    needed: list[str] = []
    with access.client(account_id) as client:
        for probed in probe(client, zone_id):
            standing = {True: "yes", False: "no", None: "unknown"}[probed.is_there]
            say(f"    {standing:8}{probed.name}  ({probed.why})")
            if probed.is_there is False:
                (needed if probed.is_needed else missing).append(probed.name)
    if needed:
        raise PermissionMissing(
            f"the API token lacks the permission {' and '.join(needed)}",
            hint="Add it to the token in the dashboard (My Profile, API Tokens), or use another token.",
        )
    return tuple(missing)


def _keeps_saved(answers: Answers, block: str) -> bool:
    choices = {"saved": f"the one that the block {block} has", "other": "another one"}
    return answers.choose("Which token?", choices, None, "--token-stdin", default="saved") == "saved"


def _account(zone: SeenZone) -> str:
    return zone.account_name or short(zone.account_id) or "unknown account"


def _in(zone: SeenZone) -> Callable[[str], None]:
    from clodo.customers.names import domain_of

    def check(text: str) -> None:
        if not zone.holds(domain_of(text)):
            raise BadUsage(f"{text} is not in the zone {zone.name}")

    return check
