"""What is wrong with customers' settings, as findings; for `clodo config validate` and `clodo customer validate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clodo.customers.names import domain_of, raise_if_bad_name
from clodo.customers.pieces import targets_of_customer
from clodo.customers.templates import FOLDER as TEMPLATES
from clodo.customers.templates import render
from clodo.errors import BadConfiguration, BadUsage
from clodo.security.credentials import credential_in
from clodo.security.subject import Kind, Setting
from clodo.workspace.customers import CUSTOMER_DOMAIN, CUSTOMER_ID, FOLDER, MISPLACED, OLD_NAMES, CustomerSettings
from clodo.workspace.finding import Finding, Severity, finding_of
from clodo.workspace.hostnames import host_of_route
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace

_MIGRATE = "Run `clodo customer update {customer} --environment {environment} --migrate` to see it with a diff."


def customer_findings(root: Path) -> Iterator[Finding]:
    """Yield what is wrong with all customers of the workspace at *root*, as far as it can be read."""
    passed: list[BadConfiguration] = []
    try:
        workspace = Workspace.load(root, pass_over=passed.append)
    except BadConfiguration as error:
        yield finding_of(error, "customer", otherwise=str(root / FOLDER))
        return
    for broken in passed:
        if f"/{FOLDER}/" in broken.message:
            yield finding_of(broken, "customer", otherwise=str(root / FOLDER))
    yield from _unread(root)
    yield from _templates(workspace)
    yield from _shared_domains(workspace)
    yield from _shared_databases(workspace)
    for settings in workspace.customers:
        yield from findings_of(workspace, settings)


def findings_of(workspace: Workspace, settings: CustomerSettings) -> Iterator[Finding]:
    """Yield what is wrong with one env file, and with the sections it belongs to."""
    yield from _names(workspace, settings)
    yield from _required(settings)
    yield from _credentials(settings)
    yield from _older(settings)
    yield from _sections(workspace, settings)


def _names(workspace: Workspace, settings: CustomerSettings) -> Iterator[Finding]:
    place = settings.env.place_of()
    try:
        raise_if_bad_name(settings.customer)
    except BadUsage as error:
        yield Finding(place, "customer-name", Severity.WARNING, error.message, error.hint or "Rename the folder.")
    if settings.environment not in workspace.portfolio.environments:
        what = f'"{settings.environment}" is no environment of the portfolio, so the file is never used'
        known = ", ".join(workspace.portfolio.environments)
        yield Finding(place, "customer-environment", Severity.WARNING, what, f"Rename it; there are {known}.")


def _required(settings: CustomerSettings) -> Iterator[Finding]:
    for name in (CUSTOMER_ID, CUSTOMER_DOMAIN):
        if settings.value(name) is None:
            what, remedy = f"{name} is not said", f"Add {name}=… to the file."
            yield Finding(settings.env.place_of(), "customer-incomplete", Severity.ERROR, what, remedy)
    if settings.domain is not None:
        try:
            domain_of(settings.domain)
        except BadUsage as error:
            place = settings.env.place_of(settings.name_of(CUSTOMER_DOMAIN))
            yield Finding(place, "customer-domain", Severity.ERROR, error.message, error.hint or "Correct it.")


def _credentials(settings: CustomerSettings) -> Iterator[Finding]:
    for name, text in settings.env.values.items():
        place = settings.env.place_of(name)
        kind = credential_in(Setting(name, text, place, Kind.ENV_FILE)) if text else None
        if kind:
            remedy = (
                "Replace it (whoever can read the repository has read it), keep the new one with"
                f" `clodo secrets import SERVICE@{settings.environment}/{settings.customer}`, and take the line out."
            )
            yield Finding(place, "customer-credential", Severity.ERROR, f"critical: {name} holds {kind}", remedy)


def _older(settings: CustomerSettings) -> Iterator[Finding]:
    remedy = _MIGRATE.format(customer=settings.customer, environment=settings.environment)
    for name in settings.env.values:
        if name in OLD_NAMES:
            what = f"{name} is an older name of {OLD_NAMES[name]}; both come to the Worker"
            yield Finding(settings.env.place_of(name), "older-name", Severity.NOTE, what, remedy)
        elif name in MISPLACED:
            what = f"{name} is not read; the wrangler config says it as {MISPLACED[name]}"
            yield Finding(settings.env.place_of(name), "older-name", Severity.WARNING, what, remedy)


def _sections(workspace: Workspace, settings: CustomerSettings) -> Iterator[Finding]:
    found = False
    for service in workspace.services:
        target = workspace.target_of(service.name, settings.environment, settings.customer)
        if target is None:
            continue
        found = True
        config = workspace.effective(target)
        domain = (settings.domain or "").lower()
        hosts = [(host_of_route(route.pattern), route.place) for route in config.routes]
        for host, place in hosts:
            other = _owner_of(workspace, host, settings)
            if other is not None:
                what = f"{host} belongs to the domain of the customer {other.customer}, not of {settings.customer}"
                yield Finding(place, "customer-route", Severity.ERROR, what, "Correct the route.")
        if domain and not hosts and not config.is_on_workers_dev:
            what = f"{target} has no route, so nothing comes to it"
            yield Finding(config.place_of("name"), "customer-route", Severity.WARNING, what, "Add a route.")
    if not found and settings.environment in workspace.portfolio.environments:
        what = f"no service has a section {settings.customer}-{settings.environment}, so nothing is released for it"
        remedy = "Add the section, or remove the customer: `clodo customer remove`."
        yield Finding(settings.env.place_of(), "customer-unused", Severity.WARNING, what, remedy)


def _shared_databases(workspace: Workspace) -> Iterator[Finding]:
    owners: dict[tuple[str, str], tuple[str, Target]] = {}
    for settings in workspace.customers:
        for target, config in targets_of_customer(workspace, settings):
            block = workspace.portfolio.account_block_of(target)
            for database in config.databases:
                key = (block, database.database_id or database.database_name)
                owner, other = owners.setdefault(key, (settings.customer, target))
                if owner != settings.customer:
                    what = f"{target} and {other} have one database: each can read the other's data"
                    yield Finding(database.place, "customer-database", Severity.ERROR, what, "Give each its own.")


def _owner_of(workspace: Workspace, host: str, settings: CustomerSettings) -> CustomerSettings | None:
    """Return the other customer whose domain *host* is or lies below; the longest domain decides."""
    fitting = [
        item
        for item in workspace.customers
        if item.domain and (host == item.domain.lower() or host.endswith("." + item.domain.lower()))
    ]
    best = max(fitting, key=lambda item: len(item.domain or ""), default=None)
    if best is None or best.customer == settings.customer:
        return None
    same = [item for item in fitting if item.customer == settings.customer and item.domain == best.domain]
    return None if same else best


def _shared_domains(workspace: Workspace) -> Iterator[Finding]:
    owners: dict[tuple[str, str], CustomerSettings] = {}
    for settings in workspace.customers:
        if settings.domain is None:
            continue
        owner = owners.setdefault((settings.domain.lower(), ""), settings)
        if owner.customer != settings.customer:
            place = settings.env.place_of(settings.name_of(CUSTOMER_DOMAIN))
            what = f"{settings.domain} is the domain of {owner.customer} too ({owner.env.place_of()})"
            yield Finding(place, "customer-domain", Severity.ERROR, what, "A domain belongs to one customer.")


def _templates(workspace: Workspace) -> Iterator[Finding]:
    for environment in workspace.portfolio.environments:
        try:
            render(workspace.root, environment, {})
        except BadConfiguration as error:
            yield finding_of(error, "customer-template", otherwise=str(workspace.root / TEMPLATES))


def _unread(root: Path) -> Iterator[Finding]:
    folder = root / FOLDER
    for file in sorted(folder.glob("*.env")) if folder.is_dir() else ():
        what = "is not read: a customer is a folder with one file for each environment"
        yield Finding(f"{file}:1", "customer", Severity.WARNING, what, f"Move it: {FOLDER}/{file.stem}/production.env")
