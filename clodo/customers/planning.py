"""What creating, updating and removing a customer would write, as edits to be shown before they are made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clodo.customers.names import domain_of, raise_if_bad_name, raise_if_taken, raise_if_too_long
from clodo.customers.sections import (
    CopyEnvironment,
    Database,
    MoveRoutes,
    RemoveSection,
    SetAccount,
    SetDatabase,
    shared_resources,
)
from clodo.customers.templates import render
from clodo.errors import BadUsage, NotFound, VerificationFailed
from clodo.workspace.customers import (
    CUSTOMER_DOMAIN,
    FOLDER,
    MISPLACED,
    OLD_NAMES,
    SERVICE_DOMAIN,
    CustomerSettings,
    section_of_customer,
)
from clodo.workspace.documents import did_you_mean, read_document
from clodo.workspace.editing import FileEdit, Operation, PutRoute, SetVariables, applied, edit_config, edit_of
from clodo.workspace.env_files import edit_env, write_env
from clodo.workspace.services import Service
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class CustomerPlan:
    """
    What would be written.

    Attributes:
        edits: Of env files and wrangler configs; all or none.

        notes: What a person should know or decide, a sentence each.

        targets: That there will be.

        gone: That there will be no more.
    """

    edits: tuple[FileEdit, ...]
    notes: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    gone: tuple[Target, ...] = ()

    @property
    def has_changes(self) -> bool:
        """Whether anything would be written."""
        return any(edit.has_changes for edit in self.edits)

    def diff(self, root: Path) -> str:
        """Return all edits as one unified diff."""
        return "".join(edit.diff(root) for edit in self.edits)

    @contextmanager
    def written(self, workspace: Workspace) -> Iterator[Workspace]:
        """
        Write the plan and read the workspace again; take everything back when that, or the body, fails.

        Gives:
            The workspace as it is then.

        Raises:
            PlanIsStale: Somebody edited one of the files in the meantime; nothing was written.

            VerificationFailed: The workspace would not be what was meant.
        """
        with applied(self.edits, state_dir=workspace.state_dir):
            after = Workspace.load(workspace.root)
            wanted = {*workspace.targets, *self.targets} - {*self.gone}
            if set(after.targets) != wanted:
                odd = ", ".join(str(target) for target in sorted(set(after.targets) ^ wanted))
                raise VerificationFailed(f"The workspace would have other targets ({odd}); every file is as it was.")
            yield after


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """
    A customer to be, in one environment.

    Attributes:
        services: Names; each gets a section of its own.

        account_id: Written where a service's config names none; None to leave it to the block.

        zone_id: Of the domain; None to have it found by its name at each release.

        database: None for no database.

        values: Settings beyond the templates' ones.
    """

    customer: str
    environment: str
    domain: str
    services: tuple[str, ...]
    account_id: str | None = None
    zone_id: str | None = None
    database: Database | None = None
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CustomerChange:
    """
    What shall be otherwise about a customer in one environment.

    Attributes:
        domain, zone_id: None leaves the domain.

        database: None takes it away; only with *changes_database*.

        values: Settings; None takes one away.

        migrates: Whether older names become today's.
    """

    domain: str | None = None
    zone_id: str | None = None
    changes_database: bool = False
    database: Database | None = None
    values: Mapping[str, str | None] = field(default_factory=dict)
    migrates: bool = False


def file_of(root: Path, customer: str, environment: str) -> Path:
    """Return where a customer's settings for an environment are kept."""
    return root / FOLDER / customer / f"{environment}.env"


def settings_of(workspace: Workspace, customer: str, environment: str | None = None) -> tuple[CustomerSettings, ...]:
    """
    Return what the env files of *customer* say, in one environment or in all.

    Raises:
        NotFound: There is no such customer, or not there; the hint names the nearest.
    """
    mine = [settings for settings in workspace.customers if settings.customer == customer]
    if not mine:
        known = sorted({settings.customer for settings in workspace.customers})
        raise NotFound(
            f"there is no customer {customer}{did_you_mean(customer, known)}",
            hint="`clodo customer list` shows them." if known else f"Make one: clodo customer create {customer} …",
        )
    found = tuple(settings for settings in mine if environment in (None, settings.environment))
    if not found:
        there = ", ".join(settings.environment for settings in mine)
        raise NotFound(f"{customer} has no settings for {environment}", hint=f"It has them for {there}.")
    return found


def plan_creation(workspace: Workspace, new: NewCustomer) -> CustomerPlan:
    """
    Return what makes *new* a customer.

    Raises:
        BadUsage: Its name can't be, it is there already, or no service was named.

        ServiceNotFound: No such service.

        BadConfiguration: A template is broken.
    """
    raise_if_bad_name(new.customer)
    _raise_if_unknown_environment(workspace, new.environment)
    raise_if_taken(workspace, new.customer, new.environment)
    domain = domain_of(new.domain)
    file = file_of(workspace.root, new.customer, new.environment)
    if file.exists() or file.is_symlink():
        raise BadUsage(
            f"{file}: {new.customer} is a customer in {new.environment} already",
            hint=f"clodo customer update {new.customer} --environment {new.environment}",
        )
    if not new.services:
        raise BadUsage("no service is named", hint="Add --service NAME; repeat it for several.")
    given = {"CUSTOMER_NAME": new.customer, "DOMAIN": domain, "ENVIRONMENT": new.environment}
    optional = {
        "ZONE_ID": new.zone_id,
        "ACCOUNT_ID": new.account_id,
        "DATABASE_NAME": new.database.name if new.database else None,
        "DATABASE_ID": new.database.id if new.database else None,
    }
    rendered = render(workspace.root, new.environment, given | {key: text for key, text in optional.items() if text})
    notes = [
        f"{name} has no value, because nobody gave {what} (see {rendered.sources[name]})"
        for name, what in rendered.leftovers.items()
        if name not in new.values
    ]
    text = f"# {new.customer}, {new.environment}\n" + write_env({**rendered.values, **new.values})
    edits = [FileEdit(file, None, text.encode())]
    targets = []
    for name in dict.fromkeys(new.services):
        service = workspace.service(name)
        edits.append(_edit_for(service, new, domain, notes))
        targets.append(Target(name, new.environment, new.customer))
    return CustomerPlan(tuple(edits), tuple(notes), tuple(targets))


def plan_change(workspace: Workspace, customer: str, environment: str, change: CustomerChange) -> CustomerPlan:
    """
    Return what *change* would write.

    Raises:
        NotFound: No such customer, or not there.

        BadUsage: A value can't be, or there is no section in which a database could be bound.
    """
    settings = settings_of(workspace, customer, environment)[0]
    notes: list[str] = []
    values: dict[str, str | None] = {}
    renamed = _renames(settings, notes) if change.migrates else {}
    operations: dict[Path, list[Operation]] = {}
    sections = tuple(_sections_of(workspace, settings))
    if change.migrates:
        _move_misplaced(workspace, settings, sections, values, operations, notes)
    if change.domain is not None:
        _change_domain(settings, change, renamed, sections, values, operations, notes)
    if change.changes_database:
        if not sections:
            raise BadUsage(f"no service has a section for {customer} in {environment}", hint="Create it first.")
        for service, section in sections:
            operations.setdefault(service.config.file, []).append(SetDatabase(environment, section, change.database))
    for name, value in change.values.items():
        values[renamed.get(name, name)] = value
    edits = [edit_env(settings.env.file, values, renamed=renamed)]
    edits += [edit_config(path, wanted) for path, wanted in operations.items()]
    return CustomerPlan(tuple(edit for edit in edits if edit.has_changes), tuple(notes))


def plan_removal(workspace: Workspace, customer: str, environment: str | None) -> CustomerPlan:
    """
    Return what takes a customer out of the workspace, in one environment or in all; nothing on Cloudflare changes.

    Raises:
        NotFound: No such customer, or not there.
    """
    edits: list[FileEdit] = []
    operations: dict[Path, list[Operation]] = {}
    notes: list[str] = []
    gone: list[Target] = []
    for settings in settings_of(workspace, customer, environment):
        edits.append(edit_of(settings.env.file, None))
        for service in workspace.services:
            target = workspace.target_of(service.name, settings.environment, customer)
            if target is None:
                continue
            config = workspace.effective(target)
            if target.customer is None:
                where = config.place_of("vars", "SERVICE_DOMAIN")
                notes.append(f"{target} goes on serving {customer} alone: {where} names it")
                continue
            gone.append(target)
            section = f"{customer}-{settings.environment}"
            operations.setdefault(service.config.file, []).append(RemoveSection(section))
            notes.append(f"the Worker {config.worker_name} stays as it is on Cloudflare, with its routes and secrets")
            notes += [f"the D1 database {database.database_name} stays" for database in config.databases]
    edits += [edit_config(path, wanted) for path, wanted in operations.items()]
    return CustomerPlan(tuple(edits), tuple(dict.fromkeys(notes)), gone=tuple(gone))


def _edit_for(service: Service, new: NewCustomer, domain: str, notes: list[str]) -> FileEdit:
    """Give the service a section for the customer, with bindings, database and route."""
    section = f"{new.customer}-{new.environment}"
    target = Target(service.name, new.environment, new.customer)
    raise_if_too_long(target, f"{service.name}-{section}")
    data = read_document(service.config.file).data
    host = domain if len(new.services) == 1 else f"{service.name}.{domain}"
    operations: list[Operation] = [
        CopyEnvironment(new.environment, section, new.customer),
        SetDatabase(new.environment, section, new.database),
        PutRoute(section, f"{host}/*", zone_id=new.zone_id),
    ]
    if new.account_id is not None and not service.config.document.data.get("account_id"):
        operations.append(SetAccount(new.account_id))
    for kind, name in shared_resources(data, new.environment):
        notes.append(f"{target} shares the {kind} {name} with {service.name}@{new.environment}")
    bound = service.config.for_environment(new.environment).databases
    if bound and new.database is None:
        notes.append(f"{target} has no database, though {service.name}@{new.environment} binds {bound[0].binding}")
    if len(bound) > 1:
        left = ", ".join(database.binding for database in bound[1:])
        notes.append(f"{target} does not bind the databases {left}, which {service.name}@{new.environment} does")
    return edit_config(service.config.file, operations)


def _sections_of(workspace: Workspace, settings: CustomerSettings) -> Iterator[tuple[Service, str]]:
    """Yield the services that serve a customer, with the section: its own, or the environment's for it alone."""
    for service in workspace.services:
        target = workspace.target_of(service.name, settings.environment, settings.customer)
        if target is not None:
            yield service, section_of_customer(service.config, settings) or settings.environment


def _renames(settings: CustomerSettings, notes: list[str]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for old, new in OLD_NAMES.items():
        if old not in settings.env.values:
            continue
        if new in settings.env.values or new in renamed.values():
            notes.append(f"{settings.env.place_of(old)}: {old} stays, because {new} is said too; keep one of the two")
            continue
        renamed[old] = new
        notes.append(f"{settings.env.place_of(old)}: Workers get {new} only; change code that reads {old} first")
    return renamed


def _move_misplaced(
    workspace: Workspace,
    settings: CustomerSettings,
    sections: Sequence[tuple[Service, str]],
    values: dict[str, str | None],
    operations: dict[Path, list[Operation]],
    notes: list[str],
) -> None:
    """Take what the wrangler config says out of the env file; what it doesn't say yet is written there, or named."""
    said: dict[str, set[str | None]] = {
        "account_id": set(),
        "zone_id": set(),
        "database_id": set(),
        "database_name": set(),
    }
    for service, section in sections:
        config = service.config.for_environment(section)
        said["account_id"].add(config.account_id)
        said["zone_id"] |= {route.zone_id for route in config.routes}
        said["database_id"] |= {database.database_id for database in config.databases}
        said["database_name"] |= {database.database_name for database in config.databases}
    for name, key in MISPLACED.items():
        value = settings.env.values.get(name)
        if value is None:
            continue
        place = settings.env.place_of(name)
        others = {item for item in said[key] if item} - {value}
        if not value or value in said[key]:
            values[name] = None
        elif others:
            notes.append(f"{place}: {name} stays; the wrangler configs say another {key}. Keep the right one")
        elif key == "account_id" and sections:
            for service, _ in sections:
                operations.setdefault(service.config.file, []).append(SetAccount(value))
            values[name] = None
        else:
            notes.append(f"{place}: {name} stays; no wrangler config has a place for the {key} of {settings.customer}")


def _change_domain(
    settings: CustomerSettings,
    change: CustomerChange,
    renamed: Mapping[str, str],
    sections: Sequence[tuple[Service, str]],
    values: dict[str, str | None],
    operations: dict[Path, list[Operation]],
    notes: list[str],
) -> None:
    after = domain_of(change.domain or "")
    written = settings.name_of(CUSTOMER_DOMAIN) or CUSTOMER_DOMAIN
    values[renamed.get(written, written)] = after
    before = settings.domain
    if before is None:
        notes.append(f"{settings.customer} had no domain in {settings.environment}; its routes are as they were")
        return
    # Whole names only: notacme.example is not below acme.example.
    host = re.compile(rf"(?<![A-Za-z0-9-]){re.escape(before)}(?![A-Za-z0-9-]|\.[A-Za-z0-9])", re.IGNORECASE)
    for name, value in settings.env.values.items():
        if name != written and host.search(value):
            values[renamed.get(name, name)] = host.sub(after, value)
    for service, section in sections:
        wanted = operations.setdefault(service.config.file, [])
        wanted.append(MoveRoutes(section, before.lower(), after, change.zone_id))
        if service.config.for_environment(section).variables.get(SERVICE_DOMAIN) == before:
            wanted.append(SetVariables(section, {SERVICE_DOMAIN: after}))


def _raise_if_unknown_environment(workspace: Workspace, environment: str) -> None:
    known = tuple(workspace.portfolio.environments)
    if environment not in known:
        raise BadUsage(
            f"there is no environment {environment}{did_you_mean(environment, known)}",
            hint="There are " + ", ".join(known) + ".",
        )
