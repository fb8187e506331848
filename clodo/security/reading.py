"""From a workspace to what the rules look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv.parser import parse_stream

from clodo.errors import BadConfiguration
from clodo.security.asset_headers import read_headers
from clodo.security.subject import Kind, Leak, Setting, Stage, Subject, leaves
from clodo.workspace.customers import FOLDER as CUSTOMERS
from clodo.workspace.source_tree import files_below

if TYPE_CHECKING:
    from clodo.workspace.effective_config import EffectiveConfig
    from clodo.workspace.portfolio import Portfolio
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace

WORKSPACE = "workspace"
"""The name of what belongs to no single target."""
MAX_ENV_BYTES = 1024 * 1024


def stage_of(portfolio: Portfolio, environment: str) -> Stage:
    """Return the stage of an environment of the portfolio."""
    known = portfolio.environments.get(environment)
    return Stage.of(environment, is_protected=known is not None and known.protected)


def subject_of(
    workspace: Workspace,
    target: Target,
    *,
    today: date,
    config: EffectiveConfig | None = None,
    secrets: Mapping[str, str] | None = None,
    twins: Mapping[str, tuple[str, ...]] | None = None,
) -> Subject:
    """
    Return *target* as the rules look at it.

    Args:
        config: What it is released with; the workspace's by default.

        secrets: Names and values, where they are known.

        twins: Name to the targets of other environments with the same value.

    Raises:
        BadConfiguration: A file can't be read.
    """
    config = config or workspace.effective(target)
    # What a customer's env file says is among the vars, and is known by its place.
    customers = f"{workspace.root / CUSTOMERS}/"
    settings = [
        Setting(leaf, text, place, Kind.ENV_FILE if place.startswith(customers) else Kind.VARIABLE)
        for name, value in config.variables.items()
        for place in (config.place_of("vars", name),)
        for leaf, text in leaves(name, value)
    ]
    settings += [
        Setting(name, value, _place_of_secret(workspace, target, config, name), Kind.SECRET)
        for name, value in sorted((secrets or {}).items())
    ]
    needed = {*workspace.portfolio.settings_of(target.service).secrets, *config.required_secrets}
    missing = sorted(needed - secrets.keys()) if secrets is not None else []
    assets = config.assets
    return Subject(
        name=str(target),
        stage=stage_of(workspace.portfolio, target.environment),
        settings=tuple(settings),
        today=today,
        config=config,
        missing=tuple(
            Setting(name, "", _place_of_secret(workspace, target, config, name), Kind.SECRET) for name in missing
        ),
        twins=twins or {},
        headers=read_headers(assets.directory, declared_at=assets.place) if assets else None,
    )


def subjects_of(workspace: Workspace, targets: Iterable[Target], *, today: date) -> Iterator[Subject]:
    """
    Yield *targets* as the rules look at them, without secrets.

    Raises:
        BadConfiguration: A file can't be read.
    """
    for target in targets:
        yield subject_of(workspace, target, today=today)


def files_of(workspace: Workspace, *, today: date) -> Iterator[Subject]:
    """
    Yield the env files that git keeps, one subject each.

    Raises:
        BadConfiguration: One can't be read.
    """
    for file in files_below(workspace.root):
        if is_env_file(file):
            environment = environment_of(file.relative_to(workspace.root))
            yield Subject(
                name=WORKSPACE,
                stage=stage_of(workspace.portfolio, environment),
                settings=tuple(env_settings(file)),
                today=today,
            )


def workspace_subject(workspace: Workspace, leaks: Iterable[Leak], *, today: date) -> Subject:
    """Return the workspace itself as the rules look at it: what scans found, and where its keys are kept."""
    return Subject(
        name=WORKSPACE,
        stage=Stage.PRODUCTION,
        settings=(),
        today=today,
        leaks=tuple(leaks),
        keys_beside=keys_beside_blocks(workspace.root),
    )


def keys_beside_blocks(root: Path) -> str | None:
    """Return ``file:line`` of the key that encrypts saved blocks, if it lies beside their database."""
    folder = root / ".clodo" / "prefect"
    key, database = folder / "credentials.env", folder / "prefect.db"
    return f"{key}:1" if key.is_file() and database.is_file() else None


def is_env_file(file: Path) -> bool:
    """Whether a file holds settings as ``NAME=value`` lines, by its name."""
    name = file.name
    return name.endswith(".env") or name == ".env" or name.startswith((".env.", ".dev.vars"))


def environment_of(path: Path) -> str:
    """Return the environment that an env file speaks of, by its path below the workspace; development in doubt."""
    if "templates" in path.parts or path.name.endswith((".example", ".sample", ".template")):
        return Stage.DEVELOPMENT
    if path.parts[:2] == CUSTOMERS.parts or (path.suffix == ".env" and path.stem != ""):
        named = path.name.removesuffix(".env").rpartition(".")[2]
        if named:
            return named
    for prefix in (".env.", ".dev.vars."):
        if path.name.startswith(prefix):
            return path.name.removeprefix(prefix).removesuffix(".local")
    return Stage.DEVELOPMENT


def env_settings(file: Path) -> list[Setting]:
    """
    Read the settings of an env file, as python-dotenv does, with their lines; what it can't parse is left out.

    Raises:
        BadConfiguration: It can't be read, or is no text.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_ENV_BYTES)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise BadConfiguration(f"{file}:1: can't be read ({error.strerror})", hint="Check its permissions.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadConfiguration(f"{file}:{line}: is not UTF-8 text", hint="Save the file as UTF-8.") from error
    return [
        Setting(
            binding.key,
            binding.value,
            f"{file}:{binding.original.line + _blank_lines_before(binding.original.string)}",
            Kind.ENV_FILE,
        )
        for binding in parse_stream(StringIO(text))
        if binding.key and binding.value
    ]


def _blank_lines_before(text: str) -> int:
    """Return how many lines a binding's text begins with that are blank; the parser counts them to it."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def _place_of_secret(workspace: Workspace, target: Target, config: EffectiveConfig, name: str) -> str:
    names = workspace.portfolio.settings_of(target.service).secrets
    if name in names:
        return workspace.portfolio.place_of("services", target.service, "secrets", names.index(name))
    if name in config.required_secrets:
        return config.place_of("secrets", "required", config.required_secrets.index(name))
    return config.place_of("name")
