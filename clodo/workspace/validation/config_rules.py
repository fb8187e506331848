"""What can be said about one wrangler config by itself: each rule is a small function of one section of one file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from clodo.errors import BadConfiguration
from clodo.workspace import packages
from clodo.workspace.build_commands import deploying_command
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.finding import Finding, Severity, finding_of
from clodo.workspace.inheritance import flatten
from clodo.workspace.wrangler_config import FILE_NAMES, WranglerConfig

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_HEX_32 = re.compile(r"[0-9a-fA-F]{32}")
_REMEDIES = {
    "unknown-key": "Correct the key, or remove it.",
    "top-level-only": "Move it to the top of the file.",
    "not-inherited": "Repeat it in the environment if that needs it; an empty list or table says that it doesn't.",
    "inherited-domain": "Give the environment routes of its own, or an empty list.",
}


@dataclass(frozen=True, slots=True)
class Looked:
    """
    One section of one config, and what a rule needs beside it.

    Attributes:
        root: The workspace's.
    """

    config: WranglerConfig
    effective: EffectiveConfig
    root: Path


Rule = Callable[[Looked], Iterator[Finding]]


def config_findings(config: WranglerConfig, root: Path) -> Iterator[Finding]:
    """Yield what all rules say about all sections of *config*; a section that can't be read yields its error."""
    yield from _ignored_beside(config)
    readable: dict[str | None, EffectiveConfig] = {}
    for section in (None, *config.environments):
        try:
            effective = config.for_environment(section)
        except BadConfiguration as error:
            yield finding_of(error, "refused", otherwise=str(config.file))
            continue
        readable[section] = effective
        for warned in flatten(config.document.data, section).warnings:
            place = config.document.place_of(warned.path)
            yield Finding(place, warned.rule, Severity.WARNING, warned.what, _REMEDIES[warned.rule])
        for rule in RULES:
            yield from rule(Looked(config, effective, root))
    yield from _shared_databases(readable)


def _lacks_compatibility_date(looked: Looked) -> Iterator[Finding]:
    effective = looked.effective
    if effective.compatibility_date is None:
        yield Finding(
            effective.document.place_of(()),
            "compatibility-date",
            Severity.ERROR,
            "has no compatibility_date, without which wrangler does not deploy",
            'Add compatibility_date = "<the day you last tested the Worker>" at the top.',
        )


def _has_nothing_to_upload(looked: Looked) -> Iterator[Finding]:
    effective = looked.effective
    if effective.main is None and effective.assets is None and not effective.raw.get("site"):
        yield Finding(
            effective.document.place_of(()),
            "missing-file",
            Severity.ERROR,
            'has neither "main" nor "assets": there is nothing to upload',
            'Add main = "src/index.ts", or an [assets] section with a directory.',
        )


def _entry_point_is_missing(looked: Looked) -> Iterator[Finding]:
    effective = looked.effective
    if effective.main is None or effective.main.is_file() or _is_built(looked):
        return
    yield Finding(
        effective.place_of("main"),
        "missing-file",
        Severity.ERROR,
        f"the entry point {effective.raw.get('main')} is not there, and nothing builds it",
        "Correct `main`, or add a [build] that makes the file.",
    )


def _assets_are_missing(looked: Looked) -> Iterator[Finding]:
    assets = looked.effective.assets
    if assets is None or assets.directory.is_dir() or _is_built(looked):
        return
    yield Finding(
        assets.place,
        "missing-file",
        Severity.ERROR,
        f"the folder of assets {assets.directory.name} is not there, and nothing builds it",
        "Correct `assets.directory`, or add a [build] that makes the folder.",
    )


def _is_built(looked: Looked) -> bool:
    package = _package(looked)
    return looked.effective.build is not None or (package is not None and "build" in package.scripts)


def _package(looked: Looked) -> packages.Package | None:
    try:
        return packages.package_around(looked.effective.folder, looked.root)
    except BadConfiguration:
        # Said once, where the whole workspace is looked at.
        return None


def _build_deploys(looked: Looked) -> Iterator[Finding]:
    effective = looked.effective
    if effective.build is None:
        return
    package = _package(looked)
    chain = deploying_command(effective.build.command, package.scripts if package is not None else {})
    if chain is not None:
        yield Finding(
            effective.build.place,
            "build-deploys",
            Severity.ERROR,
            f"the build calls a deploy, which builds again, and so on: {' → '.join(chain)}",
            "Let [build] only build; Clodo deploys.",
        )


def _ids_look_wrong(looked: Looked) -> Iterator[Finding]:
    effective = looked.effective
    remedy = "Write the id from the dashboard, or leave it out: Clodo finds the resource by its name."
    for database in effective.databases:
        if database.database_id is not None and not _UUID.fullmatch(database.database_id):
            what = f'the database_id of "{database.binding}" is no UUID'
            yield Finding(database.place, "resource-id", Severity.ERROR, what, remedy)
    for namespace in effective.namespaces:
        if namespace.namespace_id is not None and not _HEX_32.fullmatch(namespace.namespace_id):
            what = f'the id of the KV namespace "{namespace.binding}" is not 32 hex digits'
            yield Finding(namespace.place, "resource-id", Severity.ERROR, what, remedy)
    for route in effective.routes:
        if route.zone_id is not None and not _HEX_32.fullmatch(route.zone_id):
            what = f'the zone_id of "{route.pattern}" is not 32 hex digits'
            yield Finding(route.place, "resource-id", Severity.ERROR, what, remedy)
    if effective.account_id is not None and not _HEX_32.fullmatch(effective.account_id):
        place = effective.place_of("account_id")
        yield Finding(place, "resource-id", Severity.ERROR, "the account_id is not 32 hex digits", remedy)


RULES: tuple[Rule, ...] = (
    _lacks_compatibility_date,
    _has_nothing_to_upload,
    _entry_point_is_missing,
    _assets_are_missing,
    _build_deploys,
    _ids_look_wrong,
)


def _ignored_beside(config: WranglerConfig) -> Iterator[Finding]:
    """Wrangler takes the first of three names; what stands in the others is never read."""
    for name in FILE_NAMES:
        other = config.file.parent / name
        if name != config.file.name and other.is_file():
            yield Finding(
                f"{other}:1",
                "two-configs",
                Severity.WARNING,
                f"is never read, because {config.file.name} stands beside it",
                "Keep one of the two.",
            )


def _shared_databases(sections: Mapping[str | None, EffectiveConfig]) -> Iterator[Finding]:
    """Two environments with one database share their data, which is rarely meant."""
    owners: dict[str, list[tuple[str, str]]] = {}
    for section, effective in sections.items():
        name = "the top level" if section is None else f"env.{section}"
        for database in effective.databases:
            if database.database_id:
                owners.setdefault(database.database_id, []).append((name, database.place))
    for users in owners.values():
        for (first, _), (second, place) in pairwise(users):
            # The top level is production, or a copy of it that `wrangler deploy` without --env would use.
            if first != second and {first, second} != {"the top level", "env.production"}:
                yield Finding(
                    place,
                    "shared-database",
                    Severity.WARNING,
                    f"{second} has the same D1 database as {first}, and so the same data",
                    "Give each environment a database of its own.",
                )
