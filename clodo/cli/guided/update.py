"""A change to a customer's deployment, question by question; nothing is written before the last answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clodo.cli.guided.access import Access, choose_zone, find_access, raise_if_rights_are_missing
from clodo.cli.guided.answers import Answers
from clodo.cli.guided.databases import DatabaseChoice, DatabaseOptions, choose_database
from clodo.cli.output import ask, moment, say, short, show, show_table
from clodo.cli.session import open_ledger
from clodo.errors import BadUsage, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clodo.customers.pieces import Pieces
    from clodo.customers.planning import CustomerPlan
    from clodo.workspace.workspace import Workspace

CHANGES = {
    "domain": "the domain",
    "database": "the database",
    "variables": "settings",
    "token": "the API token",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    What the command line answers already; None leaves it to a question.

    Attributes:
        changes: What to change, by the words of CHANGES.
    """

    customer: str | None
    environment: str | None
    domain: str | None = None
    zone_id: str | None = None
    database: DatabaseOptions = field(default_factory=DatabaseOptions)
    values: Mapping[str, str | None] = field(default_factory=dict)
    migrates: bool = False
    token_stdin: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """What is said to change."""
        said = {
            "domain": self.domain is not None,
            "database": self.database.is_said,
            "variables": bool(self.values),
            "token": self.token_stdin,
        }
        return tuple(name for name, is_said in said.items() if is_said)


@dataclass(frozen=True, slots=True)
class Changed:
    """What came of it; *is_written* is False when it was only shown, or nothing changes."""

    customer: str
    plan: CustomerPlan
    is_written: bool
    has_new_token: bool


def update_guided(loaded: Workspace, wanted: Wanted, *, guided: bool, yes: bool, dry_run: bool, shows: bool) -> Changed:
    """
    Ask which deployment and what to change, show the diff, and change it; all of it or nothing.

    Args:
        guided: Whether a person is asked for the rest.

        shows: Whether diffs and tables are printed; not where a script reads.

    Raises:
        PermissionMissing: A token lacks a right that is needed; it is named.

        Refused: Declined, or nobody can be asked.

        Interrupted: At any question; nothing was written.
    """
    from clodo.customers.planning import CustomerChange, plan_change, settings_of
    from clodo.customers.sections import Database
    from tasks.customers import update_deployment

    answers = Answers(is_guided=guided)
    customer, environment = _pick(loaded, answers, wanted, shows=shows)
    settings = settings_of(loaded, customer, environment)[0]
    changes = wanted.changes or answers.several("What shall change?", CHANGES, None, "--domain, --database, --set …")
    access = _access(loaded, answers, environment, wanted, changes)
    choice = DatabaseChoice()
    change = CustomerChange(migrates=wanted.migrates, values=dict(wanted.values))
    account_id = access.saved_account if access is not None else None
    if access is not None and "domain" in changes:
        zone, domain = choose_zone(answers, access, wanted.domain)
        account_id = zone.account_id
        change = replace(change, domain=domain, zone_id=wanted.zone_id or zone.id)
    if access is not None and account_id is None:
        zone_now = access.seen.zone_for((settings.domain or "").lower())
        if zone_now is None:
            raise NotFound(f"the token sees no zone that holds {settings.domain}", hint="Use another token.")
        account_id = zone_now.account_id
    if access is not None and account_id is not None:
        zone_now = access.seen.zone_for((change.domain or settings.domain or "").lower())
        raise_if_rights_are_missing(access, account_id, zone_now.id if zone_now else None)
    if access is not None and account_id is not None and "database" in changes:
        choice = choose_database(answers, access, account_id, wanted.database, suggestion=f"{customer}-{environment}")
        database = Database(choice.new) if choice.new else choice.existing
        change = replace(change, changes_database=True, database=database)
    if "variables" in changes and not wanted.values:
        change = replace(change, values=_variables(answers))
    plan = plan_change(loaded, customer, environment, change)
    is_new = access is not None and access.is_new and "token" in changes
    if not plan.has_changes and not is_new:
        say("Nothing changes.")
        return Changed(customer, plan, is_written=False, has_new_token=False)
    if shows:
        show(plan.diff(loaded.root).rstrip("\n") if plan.has_changes else "No file changes.")
    for note in plan.notes:
        say(f"Note: {note.removeprefix(f'{loaded.root}/')}.")
    if choice.new is not None:
        say(f"The D1 database {choice.new} is made first; its id goes into the config.")
    if is_new and access is not None:
        say(f"The token of the block {access.block} is replaced; it serves all of {environment}.")
    if dry_run:
        return Changed(customer, plan, is_written=False, has_new_token=is_new)
    ask(f"Change {customer} in {environment}?", yes=yes)
    token = access.to_keep(account_id) if is_new and access is not None and account_id is not None else None
    made = (access.client(account_id), choice.new) if choice.new and access is not None and account_id else None
    written = update_deployment(loaded, customer, environment, change, token=token, new_database=made)
    return Changed(customer, written, is_written=True, has_new_token=is_new)


def _pick(loaded: Workspace, answers: Answers, wanted: Wanted, *, shows: bool) -> tuple[str, str]:
    """Choose a customer in an environment of those there are, and show what it consists of."""
    from clodo.customers.pieces import pieces_of
    from clodo.customers.planning import settings_of
    from tasks.customers import SavedAccounts

    if wanted.customer is not None:
        settings_of(loaded, wanted.customer, wanted.environment)
    accounts = SavedAccounts()
    found = [
        pieces
        for pieces in pieces_of(loaded, customer=wanted.customer, token=accounts.token, account_id=accounts.account_id)
        if wanted.environment in (None, pieces.environment)
    ]
    if not found:
        raise NotFound("there is no customer yet", hint="Make one: clodo customer create --guided.")
    live = _live(loaded)
    choices = {f"{one.customer}/{one.environment}": _line(one, live) for one in found}
    key = answers.choose("Which deployment?", choices, None, "NAME and --environment")
    customer, _, environment = key.partition("/")
    rows = [
        (
            one.target,
            one.domain.value if one.domain else None,
            short(one.account_id.value) if one.account_id else None,
            short(one.zone_id.value) if one.zone_id else None,
            one.token.value,
            one.database_name.value if one.database_name else None,
            live.get(str(one.target), "never"),
        )
        for one in found
        if (one.customer, one.environment) == (customer, environment)
    ]
    columns = ("target", "domain", "account", "zone", "token", "database", "last deployed")
    if shows:
        show_table(columns, rows, empty="")
    return customer, environment


def _line(pieces: Pieces, live: Mapping[str, str]) -> str:
    domain = pieces.domain.value if pieces.domain else "no domain"
    database = pieces.database_name.value if pieces.database_name else "no database"
    deployed = live.get(str(pieces.target), "never deployed")
    return f"{pieces.customer} in {pieces.environment}  ({domain}, {database}, {deployed})"


def _live(loaded: Workspace) -> dict[str, str]:
    with open_ledger(loaded.root) as ledger:
        return {live.target: f"{moment(live.recorded_at)} UTC by {live.release_id}" for live in ledger.live.all()}


def _access(
    loaded: Workspace, answers: Answers, environment: str, wanted: Wanted, changes: tuple[str, ...]
) -> Access | None:
    if not {"domain", "database", "token"} & {*changes}:
        return None
    if environment not in loaded.portfolio.environments:
        raise BadUsage(f"{environment} is no environment of the portfolio, so no account serves it")
    return find_access(
        answers,
        loaded.portfolio.environments[environment].account,
        token_stdin=wanted.token_stdin,
        api_root=None,
        edge_url=None,
        wants_new="token" in changes,
    )


def _variables(answers: Answers) -> dict[str, str | None]:
    values: dict[str, str | None] = {}

    def check(text: str) -> None:
        if text and not text.partition("=")[0].isidentifier():
            raise BadUsage("write NAME=VALUE, or NAME alone to take it away")

    while True:
        question = "NAME=VALUE to set, NAME to take away, nothing to go on:"
        text = answers.text(question, None, "--set and --unset", check=check)
        if not text:
            return values
        name, mark, value = text.partition("=")
        values[name] = value if mark else None
