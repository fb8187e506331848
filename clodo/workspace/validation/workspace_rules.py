"""All findings of a whole workspace, however broken it is: one file's trouble doesn't hide another's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic

from clodo.errors import BadConfiguration, ClodoError, ToolchainMissing
from clodo.workspace.customers import FOLDER as CUSTOMERS
from clodo.workspace.customers import read_customers
from clodo.workspace.documents import read_document
from clodo.workspace.editing.interrupted import interrupted_files
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.finding import Finding, Severity, finding_of, in_order
from clodo.workspace.layouts.base_files import LayerReader, with_layers
from clodo.workspace.portfolio import FILE_NAME, Portfolio
from clodo.workspace.services import config_files
from clodo.workspace.targets import Target
from clodo.workspace.validation.account_rules import AccountLookup, account_findings
from clodo.workspace.validation.config_rules import config_findings
from clodo.workspace.validation.older_rules import older_findings
from clodo.workspace.validation.schema import ConfigSchema
from clodo.workspace.workspace import STATE_FOLDER, Workspace, environments_of, targets_of
from clodo.workspace.wrangler_config import WranglerConfig

Further = Callable[[Path], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Validated:
    """
    What was looked at, and what was found.

    Attributes:
        files: How many configuration files were read.

        findings: The worst first, then by place.

        looking_up: How long the accounts were asked.

        not_looked_up: Why accounts could not be asked; each is among the findings too.
    """

    files: int
    findings: tuple[Finding, ...]
    looking_up: timedelta = timedelta()
    not_looked_up: tuple[ClodoError, ...] = ()

    @property
    def has_errors(self) -> bool:
        """Whether anything makes a release impossible or wrong."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)


def validate(
    root: Path,
    *,
    schema_file: Callable[[], Path],
    account: Callable[[str], AccountLookup] | None = None,
    further: Sequence[Further] = (),
) -> Validated:
    """
    Look at every configuration file at and below *root*.

    Args:
        schema_file: Gives wrangler's ``config-schema.json``; may raise ToolchainMissing, which becomes a note.

        account: Gives the look-up of a ``CloudflareAccount`` block by its name, or raises; None to ask no account. One
            that can't be asked hides nothing else.

        further: More rules, each given *root*; other rooms of the house add theirs here.
    """
    root = root.absolute()
    findings: list[Finding] = []
    looking_up = timedelta()
    unasked: dict[str, ClodoError] = {}
    configs: list[WranglerConfig] = []
    schema = _schema(schema_file, root, findings)
    files = sorted(config_files(root))
    reader = LayerReader(root)
    for file in files:
        try:
            layers = reader.of(file.parent)
            config = WranglerConfig.from_document(with_layers(read_document(file), layers))
        except BadConfiguration as error:
            findings.append(finding_of(error, "unreadable", otherwise=str(file)))
            continue
        configs.append(config)
        findings += config_findings(config, root)
        findings += older_findings(config, layers)
        if schema is not None:
            findings += schema.findings(config.document)
    portfolio = _portfolio(root, findings)
    findings += _half_edited(root)
    findings += _name_clashes(configs)
    if portfolio is not None:
        effective = _targets(configs, portfolio, root, findings)
        findings += _route_clashes(effective)
        if account is not None:
            began = monotonic()
            findings += _on_accounts(effective, portfolio, account, unasked)
            looking_up = timedelta(seconds=monotonic() - began)
    for rules in further:
        findings += rules(root)
    if not findings or all(finding.severity is not Severity.ERROR for finding in findings):
        findings += _as_a_whole(root)
    count = len(files) + (root / FILE_NAME).is_file()
    return Validated(count, in_order(findings), looking_up, tuple(unasked.values()))


def _schema(schema_file: Callable[[], Path], root: Path, findings: list[Finding]) -> ConfigSchema | None:
    try:
        return ConfigSchema.read(schema_file())
    except ToolchainMissing as error:
        what = f"the check against wrangler's own schema was left out: {error.message}"
        remedy = error.hint or "Run `clodo up` once with network access."
        findings.append(Finding(f"{root / FILE_NAME}:1", "left-out", Severity.NOTE, what, remedy))
        return None


def _portfolio(root: Path, findings: list[Finding]) -> Portfolio | None:
    file = root / FILE_NAME
    if not file.is_file():
        return Portfolio.default(root.name or "workspace")
    try:
        return Portfolio.read(file)
    except BadConfiguration as error:
        findings.append(finding_of(error, "portfolio", otherwise=str(file)))
        return None


def _half_edited(root: Path) -> Iterator[Finding]:
    for file in interrupted_files(root / STATE_FOLDER):
        yield Finding(
            f"{file}:1",
            "half-edited",
            Severity.ERROR,
            "belongs to an edit of several files that was interrupted, or is going on",
            "Run `clodo config migrate`, or whichever command it was; it takes the edit back first.",
        )


def _name_clashes(configs: Sequence[WranglerConfig]) -> Iterator[Finding]:
    first: dict[str, WranglerConfig] = {}
    for config in configs:
        other = first.setdefault(config.name, config)
        if other is not config:
            yield Finding(
                config.document.place_of(("name",)),
                "name-clash",
                Severity.ERROR,
                f'the name "{config.name}" is taken by {other.document.place_of(("name",))}',
                "Give one of the two another name.",
            )


def _targets(
    configs: Sequence[WranglerConfig], portfolio: Portfolio, root: Path, findings: list[Finding]
) -> dict[Target, EffectiveConfig]:
    """Return the targets that can be read; what is wrong with customers' files is said here."""

    def pass_over(error: BadConfiguration) -> None:
        finding = finding_of(error, "customer", otherwise=str(root / CUSTOMERS))
        # A section that is broken by itself was said, where its file was looked at.
        if (finding.place, finding.message) not in {(other.place, other.message) for other in findings}:
            findings.append(finding)

    customers = read_customers(root, pass_over)
    effective: dict[Target, EffectiveConfig] = {}
    for config in configs:
        try:
            effective |= targets_of(config, portfolio, customers)[0]
        except BadConfiguration as error:
            pass_over(error)
            effective |= dict(_without_customers(config, portfolio))
    return effective


def _without_customers(config: WranglerConfig, portfolio: Portfolio) -> Iterator[tuple[Target, EffectiveConfig]]:
    for environment in environments_of(config, portfolio):
        try:
            yield Target(config.name, environment), config.for_environment(environment)
        except BadConfiguration:
            # Said already, where the file was looked at by itself.
            continue


def _route_clashes(effective: Mapping[Target, EffectiveConfig]) -> Iterator[Finding]:
    owners: dict[str, tuple[Target, str]] = {}
    for target, config in effective.items():
        for route in config.routes:
            owner, place = owners.setdefault(route.pattern, (target, route.place))
            if owner != target:
                yield Finding(
                    route.place,
                    "route-clash",
                    Severity.ERROR,
                    f'{target} and {owner} ({place}) both want the requests for "{route.pattern}"',
                    "Cloudflare gives a pattern to one Worker: take it away from one of the two.",
                )


def _on_accounts(
    effective: Mapping[Target, EffectiveConfig],
    portfolio: Portfolio,
    account: Callable[[str], AccountLookup],
    unasked: dict[str, ClodoError],
) -> Iterator[Finding]:
    """Compare each target with its account; *unasked* gets why a block's account can't be asked, and is asked once."""
    for target, config in effective.items():
        block = portfolio.account_block_of(target)
        if block in unasked:
            continue
        try:
            yield from account_findings(config, account(block))
        except ClodoError as error:
            unasked[block] = error
            is_written = portfolio.document is not None
            yield Finding(
                portfolio.place_of("environments", target.environment) if is_written else config.place_of("name"),
                "left-out",
                Severity.NOTE,
                f'not everything was compared with the account of the block "{block}": {error.message}',
                error.hint or "Run it again once the account can be asked.",
            )


def _as_a_whole(root: Path) -> Iterator[Finding]:
    """Ask what every other command asks first, so that "valid" means that they start."""
    try:
        Workspace.load(root).graph()
    except ClodoError as error:
        yield finding_of(error, "workspace", otherwise=str(root / FILE_NAME))
