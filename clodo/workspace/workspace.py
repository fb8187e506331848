"""The workspace: the folder tree that holds the services and `portfolio.toml`, read once and checked as a whole."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from clodo.errors import BadConfiguration, Failed, NoSpaceLeft, TargetNotFound
from clodo.workspace import services as service_finding
from clodo.workspace.customers import CustomerSettings, customer_targets, read_customers
from clodo.workspace.documents import did_you_mean
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.graph import Graph, Node, Use
from clodo.workspace.hostnames import target_of_host
from clodo.workspace.portfolio import FILE_NAME, Portfolio
from clodo.workspace.services import PassOver, Service
from clodo.workspace.targets import Target, find_target
from clodo.workspace.wrangler_config import WranglerConfig

STATE_FOLDER = ".clodo"


@dataclass(frozen=True, slots=True)
class Workspace:
    """
    Everything the user wrote, as values.

    Attributes:
        root: Absolute.

        portfolio: ``portfolio.toml``, or the default portfolio.

        services: By name.

        targets: Sorted; every service in each of its environments, and for each customer that has a section there.

        customers: What their env files say, by customer and environment.
    """

    root: Path
    portfolio: Portfolio
    services: tuple[Service, ...]
    targets: tuple[Target, ...]
    _effective: Mapping[Target, EffectiveConfig] = field(repr=False)
    customers: tuple[CustomerSettings, ...] = ()
    _aliases: Mapping[Target, Target] = field(repr=False, default_factory=dict)

    @classmethod
    def load(cls, root: Path | None = None, *, pass_over: PassOver | None = None) -> Workspace:
        """
        Read the workspace at *root*, or the one that the current folder belongs to.

        Args:
            pass_over: Is told of each file that is broken or contradicts another; the rest is read without it. For
                commands that must work when somebody is in the middle of an edit.

        Raises:
            BadConfiguration: A file is broken or contradicts another; or there is nothing to release here.
        """
        root = root.absolute() if root is not None else find_root(Path.cwd())
        portfolio = _portfolio(root, pass_over)
        services = service_finding.discover(root, pass_over)
        if not services:
            raise BadConfiguration(
                f"{root}: no service here; there is no wrangler.toml, wrangler.json or wrangler.jsonc in or below it",
                hint="Change to the workspace's folder, or add a service.",
            )
        customers = read_customers(root, pass_over)
        effective: dict[Target, EffectiveConfig] = {}
        aliases: dict[Target, Target] = {}
        for service in services:
            try:
                shared, named = targets_of(service.config, portfolio, customers)
            except BadConfiguration as error:
                if pass_over is None:
                    raise
                pass_over(error)
                continue
            effective |= shared
            aliases |= named
        if pass_over is None:
            _raise_if_services_are_unknown(portfolio, services)
            _raise_if_workers_clash(portfolio, effective)
        targets = tuple(sorted(effective))
        return cls(
            root, portfolio, services, targets, MappingProxyType(effective), customers, MappingProxyType(aliases)
        )

    def find(self, text: str) -> Target:
        """
        Return the target that *text* names; a bare ``api`` means the default environment.

        A hostname names the target that serves it, by its routes or an older layout's ``domains.js``. Where an
        environment serves one customer alone, ``api@production/acme`` is another name for ``api@production``.

        Raises:
            BadUsage: Not of a target's form.

            TargetNotFound: No such target; the hint lists the nearest.

            AmbiguousName: Several targets serve the hostname.
        """
        try:
            known = (*self.targets, *self._aliases)
            found = find_target(text, known, default_environment=self.portfolio.default_environment)
            return self._aliases.get(found, found)
        except TargetNotFound:
            serving = target_of_host(text, self._effective)
            if serving is None:
                raise
            return serving

    def target_of(self, service: str, environment: str, customer: str | None) -> Target | None:
        """Return the target that serves *customer* there, under the name it has; None when nothing does."""
        wanted = Target(service, environment, customer)
        found = self._aliases.get(wanted, wanted)
        return found if found in self._effective else None

    def service(self, name: str) -> Service:
        """
        Return the service called *name*.

        Raises:
            ServiceNotFound: None is.
        """
        return service_finding.find_service(name, self.services)

    def effective(self, target: Target) -> EffectiveConfig:
        """
        Return what *target*'s Worker gets.

        Raises:
            TargetNotFound: No such target.
        """
        return self._effective[find_target(str(target), self.targets)]

    def graph(self) -> Graph:
        """
        Return which targets need which.

        Raises:
            ServicesFormACycle: The message names the circle.
        """
        graph = Graph.between(
            Node(
                target=target,
                worker=effective.worker_name,
                uses=_uses_of(effective),
                needs=self.portfolio.settings_of(target.service).needs,
                place=self.portfolio.place_of("services", target.service, "needs"),
            )
            for target, effective in self._effective.items()
        )
        graph.raise_if_cyclic()
        return graph

    def rendered_dir(self, target: Target) -> Path:
        """Return the folder for *target*'s rendered config; it need not exist."""
        return self.state_dir / "rendered" / target.slug

    @property
    def state_dir(self) -> Path:
        """
        The folder where Clodo keeps what it knows of this workspace; made at first use, for its owner only.

        Raises:
            NoSpaceLeft: The disk is full.
        """
        folder = self.root / STATE_FOLDER
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            ignore = folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NoSpaceLeft(f"{folder}: no space left on the disk") from error
            raise Failed(f"{folder}: can't be made ({error.strerror})") from error
        return folder


def find_root(start: Path) -> Path:
    """
    Return the workspace that *start* lies in.

    That is the nearest folder at or above it with a ``portfolio.toml``; else the nearest with ``.clodo``; else *start*.
    """
    folders = (start.absolute(), *start.absolute().parents)
    for folder in folders:
        if (folder / FILE_NAME).is_file():
            return folder
    for folder in folders:
        if (folder / STATE_FOLDER).is_dir():
            return folder
    return folders[0]


def _portfolio(root: Path, pass_over: PassOver | None) -> Portfolio:
    file = root / FILE_NAME
    default = Portfolio.default(root.name or "workspace")
    try:
        return Portfolio.read(file) if file.is_file() else default
    except BadConfiguration as error:
        if pass_over is None:
            raise
        pass_over(error)
        return default


def environments_of(config: WranglerConfig, portfolio: Portfolio) -> tuple[str, ...]:
    """Return the environments that a service is deployed to: those the portfolio names, else those its config knows."""
    chosen = portfolio.settings_of(config.name).environments
    if chosen is not None:
        return tuple(dict.fromkeys(chosen))
    return tuple(name for name in portfolio.environments if config.has_environment(name))


def targets_of(
    config: WranglerConfig, portfolio: Portfolio, customers: tuple[CustomerSettings, ...]
) -> tuple[dict[Target, EffectiveConfig], dict[Target, Target]]:
    """
    Return the targets of a service with what each gets, and other names of some of them.

    Raises:
        BadConfiguration: A section is broken, or a customer's settings don't fit it.
    """
    shared = {
        Target(config.name, environment): config.for_environment(environment)
        for environment in environments_of(config, portfolio)
    }
    own = customer_targets(config, shared, customers)
    return {**shared, **own.effective}, dict(own.aliases)


def _raise_if_services_are_unknown(portfolio: Portfolio, services: tuple[Service, ...]) -> None:
    names = [service.name for service in services]
    for section, settings in portfolio.services.items():
        if section not in names:
            raise portfolio.error(
                "services",
                section,
                what=f'no service is called "{section}"{did_you_mean(section, names)}',
                hint="A service's name is the `name` in its wrangler config.",
            )
        for index, needed in enumerate(settings.needs):
            if needed == section:
                raise portfolio.error("services", section, "needs", index, what=f'"{section}" can\'t need itself')
            if needed not in names:
                what = f'no service is called "{needed}"{did_you_mean(needed, names)}'
                raise portfolio.error("services", section, "needs", index, what=what)
        through = settings.smoke_tests_through
        if through is not None and (through == section or through not in names):
            what = f'no other service is called "{through}"{did_you_mean(through, names)}'
            raise portfolio.error("services", section, "smoke_tests_through", what=what)


def _raise_if_workers_clash(portfolio: Portfolio, effective: Mapping[Target, EffectiveConfig]) -> None:
    """Two targets that become one Worker would overwrite each other, release after release."""
    owners: dict[tuple[str, str], Target] = {}
    for target, config in effective.items():
        key = (portfolio.account_block_of(target), config.worker_name)
        other = owners.setdefault(key, target)
        if other != target:
            raise BadConfiguration(
                f'{config.place_of("name")}: {target} becomes the Worker "{config.worker_name}", which'
                f" {other} ({effective[other].place_of('name')}) becomes too",
                hint="Give one of the two another name, or another account.",
            )


def _uses_of(effective: EffectiveConfig) -> tuple[Use, ...]:
    uses = [Use(item.service, f"service binding {item.binding}", item.place) for item in effective.services]
    uses += [
        Use(item.script_name, f"Durable Object {item.binding}", item.place)
        for item in effective.durable_objects
        if item.script_name
    ]
    uses += [
        Use(item.script_name, f"workflow {item.binding}", item.place)
        for item in effective.workflows
        if item.script_name
    ]
    uses += [Use(name, "tail consumer", effective.place_of("tail_consumers")) for name in effective.tail_consumers]
    return tuple(uses)
