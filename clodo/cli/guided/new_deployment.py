"""A new deployment of a customer, question by question; nothing is written before the last answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clodo.cli.guided.access import choose_zone, find_access, raise_if_rights_are_missing
from clodo.cli.guided.answers import Answers
from clodo.cli.guided.databases import DatabaseOptions, choose_database
from clodo.cli.output import ask, say, show
from clodo.errors import BadUsage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clodo.customers.planning import CustomerPlan
    from clodo.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Given:
    """
    What the command line answers already; None leaves it to a question.

    Attributes:
        api_root, edge_url: Of an embedded cloud, where no block says it yet.
    """

    customer: str | None
    environment: str | None
    domain: str | None
    services: tuple[str, ...] | None
    database: DatabaseOptions
    values: Mapping[str, str] = field(default_factory=dict)
    token_stdin: bool = False
    api_root: str | None = None
    edge_url: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it; *is_written* is False when it was only shown."""

    customer: str
    plan: CustomerPlan
    is_written: bool


def deploy_new(loaded: Workspace, given: Given, *, guided: bool, yes: bool, dry_run: bool, shows: bool) -> Made:
    """
    Ask for what isn't given, show the diff, and make the deployment; all of it or nothing.

    Args:
        guided: Whether a person is asked for the rest.

        shows: Whether diffs and tables are printed; not where a script reads.

    Raises:
        PermissionMissing: The token lacks a right that is needed; it is named.

        Refused: Declined, or nobody can be asked.

        Interrupted: At any question; nothing was written.
    """
    from clodo.customers.names import raise_if_bad_name
    from clodo.customers.planning import NewCustomer, plan_creation
    from clodo.customers.sections import Database
    from clodo.workspace.targets import Target
    from tasks.customers import create_deployment, targets_that_need_a_token

    answers = Answers(is_guided=guided)
    if given.customer is not None:
        raise_if_bad_name(given.customer)
    environments = {name: name for name in loaded.portfolio.environments}
    environment = answers.choose(
        "Which environment?",
        environments,
        given.environment,
        "--environment",
        default=loaded.portfolio.default_environment,
    )
    block = loaded.portfolio.environments[environment].account
    access = find_access(
        answers, block, token_stdin=given.token_stdin, api_root=given.api_root, edge_url=given.edge_url
    )
    zone, domain = choose_zone(answers, access, given.domain)
    missing = raise_if_rights_are_missing(access, zone.account_id, zone.id)
    for name in missing:
        say(f"Note: the token lacks {name}; what needs it is left out.")
    taken = {settings.customer for settings in loaded.customers if settings.environment == environment}

    def check(text: str) -> None:
        raise_if_bad_name(text)
        if text in taken:
            raise BadUsage(f"{text} is a customer in {environment} already")

    customer = answers.text("Name of the customer:", given.customer, "NAME", default=_suggested(domain), check=check)
    services = answers.several(
        "Which services?", {service.name: service.name for service in loaded.services}, given.services, "--service"
    )
    database = choose_database(answers, access, zone.account_id, given.database, suggestion=f"{customer}-{environment}")
    new = NewCustomer(
        customer=customer,
        environment=environment,
        domain=domain,
        services=services,
        account_id=zone.account_id,
        zone_id=zone.id,
        database=Database(database.new) if database.new else database.existing,
        values=given.values,
    )
    plan = plan_creation(loaded, new)
    if shows:
        show(plan.diff(loaded.root).rstrip("\n"))
    for note in plan.notes:
        say(f"Note: {note.removeprefix(f'{loaded.root}/')}.")
    if database.new is not None:
        say(f"The D1 database {database.new} is made first; its id goes into the config.")
    if access.is_new:
        say(f"The token is kept in the block {block}.")
    shared = [Target(service, environment) for service in services]
    for target, secret in targets_that_need_a_token(loaded, shared):
        say(f"{target.service} declares that it needs a token: it gets it as its secret {secret}.")
    if dry_run:
        return Made(customer, plan, is_written=False)
    ask(f"Make {customer} in {environment}?", yes=yes)
    written = create_deployment(
        loaded,
        new,
        token=access.to_keep(zone.account_id),
        new_database=(access.client(zone.account_id), database.new) if database.new else None,
    )
    return Made(customer, written, is_written=True)


def say_next_steps(made: Made) -> None:
    """Say what to do after a deployment was made."""
    targets = " ".join(str(target) for target in made.plan.targets)
    say("Next:")
    say("    look at it       " + f"clodo customer show {made.customer}")
    say("    rehearse it      " + f"clodo deploy {targets} --dry-run")
    say("    release it       " + f"clodo deploy {targets}")
    say("    see that it works " + f"clodo domain validate {made.customer}")


def _suggested(domain: str) -> str:
    from clodo.customers.names import raise_if_bad_name

    first = domain.partition(".")[0]
    try:
        raise_if_bad_name(first)
    except BadUsage:
        return ""
    return first
