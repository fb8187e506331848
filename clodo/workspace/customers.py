"""
The customers of a workspace: their settings, and which section of a wrangler config is whose.

A customer is a folder ``config/customers/<customer>`` with one ``<environment>.env`` for each environment. What stands
there becomes the vars of the customer's Workers. Next door: `env_files` reads the files.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clodo.errors import BadConfiguration
from clodo.workspace.documents import Document, KeyPath
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.env_files import EnvFile, read_env
from clodo.workspace.targets import Target
from clodo.workspace.wrangler_config import WranglerConfig

FOLDER = Path("config") / "customers"
SERVICE_DOMAIN = "SERVICE_DOMAIN"
"""The var by which an environment of a service for one customer alone names that customer."""

CUSTOMER_ID = "CUSTOMER_ID"
CUSTOMER_DOMAIN = "CUSTOMER_DOMAIN"
OLD_NAMES: Mapping[str, str] = {
    "CUSTOMER_NAME": CUSTOMER_ID,
    "CLIENT_ID": CUSTOMER_ID,
    "DOMAIN": CUSTOMER_DOMAIN,
    "DOMAIN_NAME": CUSTOMER_DOMAIN,
    "CUSTOMER_HOST": CUSTOMER_DOMAIN,
}
"""Names that older files use for the same thing."""

MISPLACED: Mapping[str, str] = {
    "CLOUDFLARE_ACCOUNT_ID": "account_id",
    "ACCOUNT_ID": "account_id",
    "CF_ACCOUNT_ID": "account_id",
    "CLOUDFLARE_ZONE_ID": "zone_id",
    "ZONE_ID": "zone_id",
    "CF_ZONE_ID": "zone_id",
    "D1_DATABASE_ID": "database_id",
    "DATABASE_ID": "database_id",
    "D1_DATABASE_NAME": "database_name",
    "DATABASE_NAME": "database_name",
}
"""Names of older files for what the wrangler config says; they are no settings of a Worker."""

PassOver = Callable[[BadConfiguration], None]
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class CustomerSettings:
    """
    What one env file says about a customer in an environment.

    Attributes:
        env: The file as written.
    """

    customer: str
    environment: str
    env: EnvFile

    @property
    def id(self) -> str | None:
        """``CUSTOMER_ID``, also under an older name."""
        return self.value(CUSTOMER_ID)

    @property
    def domain(self) -> str | None:
        """``CUSTOMER_DOMAIN``, also under an older name."""
        return self.value(CUSTOMER_DOMAIN)

    def name_of(self, name: str) -> str | None:
        """Return the name under which the file says *name*: itself, or an older one; None when it doesn't."""
        older = (old for old, new in OLD_NAMES.items() if new == name)
        return next((known for known in (name, *older) if self.env.values.get(known)), None)

    def value(self, name: str) -> str | None:
        """Return the value of *name*, also under an older name; None when it is empty or not there."""
        known = self.name_of(name)
        return self.env.values[known] if known is not None else None

    def misplaced(self, key: str) -> tuple[str, str] | None:
        """Return name and value of what belongs under *key* of the wrangler config, but stands here."""
        names = (name for name, other in MISPLACED.items() if other == key)
        return next(((name, self.env.values[name]) for name in names if self.env.values.get(name)), None)

    def variables(self) -> dict[str, tuple[str, str]]:
        """
        Return the vars of the customer's Workers: name to value and the name by which the file says it.

        What the file says under an older name the Worker gets under both, so that code can change before the file.
        """
        found = {name: (value, name) for name, value in self.env.values.items() if name not in MISPLACED}
        for name in (CUSTOMER_ID, CUSTOMER_DOMAIN):
            known = self.name_of(name)
            if known is not None:
                found.setdefault(name, (self.env.values[known], known))
        return found


def read_customers(root: Path, pass_over: PassOver | None = None) -> tuple[CustomerSettings, ...]:
    """
    Read the env files of all customers of the workspace at *root*, by customer and environment.

    Args:
        pass_over: Is told of what is broken, which is then left out.

    Raises:
        BadConfiguration: A file or folder can't be read, or has a name that no target can have.
    """
    found: list[CustomerSettings] = []
    for customer, environment, file in _env_files(root.absolute(), pass_over):
        try:
            for name, path in ((customer, file.parent), (environment, file)):
                if not _NAME.fullmatch(name):
                    raise BadConfiguration(
                        f"{path}:1: \"{name}\" can't be part of a target's name",
                        hint="Use letters, digits, - _ and . only.",
                    )
            found.append(CustomerSettings(customer, environment, read_env(file)))
        except BadConfiguration as error:
            if pass_over is None:
                raise
            pass_over(error)
    return tuple(sorted(found, key=lambda item: (item.customer, item.environment)))


def section_of_customer(config: WranglerConfig, settings: CustomerSettings) -> str | None:
    """Return the section that is the customer's own, ``<customer>-<environment>``; None when there is none."""
    name = f"{settings.customer}-{settings.environment}"
    return name if name in config.environments else None


def is_for_customer_alone(effective: EffectiveConfig, settings: CustomerSettings) -> bool:
    """Whether an environment of a service serves one customer, *settings*'s, by its ``vars.SERVICE_DOMAIN``."""
    said = effective.variables.get(SERVICE_DOMAIN)
    return said is not None and said in (settings.customer, settings.id, settings.domain)


@dataclass(frozen=True, slots=True)
class CustomerTargets:
    """
    What customers make of one service.

    Attributes:
        effective: Targets of customers; and those of environments that serve one customer, with that one's vars.

        aliases: In such environments, the customer's target to the one that it is another name of.
    """

    effective: Mapping[Target, EffectiveConfig]
    aliases: Mapping[Target, Target]


def customer_targets(
    config: WranglerConfig, shared: Mapping[Target, EffectiveConfig], customers: tuple[CustomerSettings, ...]
) -> CustomerTargets:
    """
    Return what *customers* make of a service.

    Args:
        shared: The service's targets without customers.

    Raises:
        BadConfiguration: A section is broken, two customers lay claim to one, or a setting's name is taken.
    """
    effective: dict[Target, EffectiveConfig] = {}
    aliases: dict[Target, Target] = {}
    environments = {target.environment: target for target in shared}
    owners: dict[str, CustomerSettings] = {}
    for settings in customers:
        target = environments.get(settings.environment)
        if target is None:
            continue
        named = replace(target, customer=settings.customer)
        section = section_of_customer(config, settings)
        if section is not None:
            other = owners.setdefault(section, settings)
            if other is not settings:
                raise config.document.error(
                    ("env", section),
                    f'"{section}" would be the section of {other.customer} in {other.environment}, and of'
                    f" {settings.customer} in {settings.environment}",
                    hint="Rename one of the two customers.",
                )
            own = replace(config.for_environment(section), environment=settings.environment)
            effective[named] = with_settings(own, settings)
        elif is_for_customer_alone(shared[target], settings):
            effective[target] = with_settings(shared[target], settings)
            aliases[named] = target
    return CustomerTargets(effective, aliases)


def with_settings(effective: EffectiveConfig, settings: CustomerSettings) -> EffectiveConfig:
    """
    Return *effective* with the customer's settings among its vars; they win over those of the wrangler config.

    Raises:
        BadConfiguration: The name of a setting is a binding's or a secret's.
    """
    given = settings.variables()
    taken = {*effective.binding_names, *effective.required_secrets} - effective.variables.keys()
    for name, (_, written) in given.items():
        if name in taken:
            raise settings.env.error(
                written, f'"{name}" is the name of a binding or secret of {effective.worker_name}', hint="Rename it."
            )
    variables: dict[str, Any] = {**effective.variables, **{name: value for name, (value, _) in given.items()}}
    origin = effective.origins.get(
        "vars", ("vars",) if effective.section is None else ("env", effective.section, "vars")
    )
    return replace(
        effective,
        document=_said_elsewhere(effective.document, origin, settings, given),
        variables=variables,
        raw={**effective.raw, "vars": variables},
        origins={**effective.origins, "vars": origin},
    )


def _said_elsewhere(
    document: Document, origin: KeyPath, settings: CustomerSettings, given: Mapping[str, tuple[str, str]]
) -> Document:
    places = {(*origin, name): settings.env.place_of(written) for name, (_, written) in given.items()}
    lines = {path: line for path, line in document.lines.items() if path not in places}
    return replace(document, lines=lines, elsewhere={**document.elsewhere, **places})


def _env_files(root: Path, pass_over: PassOver | None) -> Iterator[tuple[str, str, Path]]:
    for folder in _entries(root / FOLDER, pass_over):
        if folder.name.startswith((".", "_")) or not _is_folder(folder, pass_over):
            continue
        for file in _entries(folder, pass_over):
            if file.suffix == ".env" and file.stem and not file.name.startswith("."):
                yield folder.name, file.stem, file


def _entries(folder: Path, pass_over: PassOver | None) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        _refuse(folder, error, pass_over)
        return []


def _is_folder(path: Path, pass_over: PassOver | None) -> bool:
    try:
        return bool(path.stat().st_mode & 0o170000 == 0o040000)
    except OSError as error:
        if error.errno != errno.ENOENT or path.is_symlink():
            _refuse(path, error, pass_over)
        return False


def _refuse(path: Path, error: OSError, pass_over: PassOver | None) -> None:
    hint = "Take the link away." if path.is_symlink() else "Check who owns it."
    refusal = BadConfiguration(f"{path}:1: can't be read ({error.strerror})", hint=hint)
    if pass_over is None:
        raise refusal from error
    pass_over(refusal)
