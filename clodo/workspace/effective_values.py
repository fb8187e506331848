"""
What a target is configured to be, one value a row, each with the place it comes from; secrets masked.

Next door: `differences` compares two of these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clodo.errors import BadConfiguration, BadUsage
from clodo.logs import MASK, PROCESS_SECRETS
from clodo.workspace.documents import KeyPath, did_you_mean
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.inheritance import INHERITED, NOT_INHERITED, TOP_LEVEL_ONLY
from clodo.workspace.layouts.domains_file import find_domains_file, read_domains_file
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace

# By which key an item of a list is known, whatever its place in the list.
_NAMES = ("binding", "pattern", "queue", "tag", "name", "service", "type")
# What may open a path.
_KEYS = (*INHERITED, *NOT_INHERITED, *TOP_LEVEL_ONLY, "domains", "portfolio")
# Beyond what no log shows: names under which people keep secrets in vars, though they shouldn't.
_SECRET_NAME = re.compile(
    r"(?:secret|token|passw|credential|private|api_?key|(?:^|_)key$|(?:^|_)dsn$|webhook_url)", re.IGNORECASE
)
_LOGIN_IN_URL = re.compile(r"://[^/\s:@]+:[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class Value:
    """
    One value of a target's configuration.

    Attributes:
        path: Dotted; items of lists by their names: ``d1_databases.DB.database_id``, ``vars.LEVEL``.

        value: As written; never to be printed.

        place: ``file:line``, or words when no file says it.

        is_secret: Whether its name or look says that nobody should see it.
    """

    path: str
    value: Any = field(repr=False)
    place: str
    is_secret: bool = False

    @property
    def shown(self) -> Any:
        """The value for people and files: masked when it is secret, or holds one."""
        return MASK if self.is_secret else PROCESS_SECRETS.value(self.value)

    @property
    def text(self) -> str:
        """`shown`, on one line."""
        is_plain = isinstance(self.shown, str) and self.shown.isprintable()
        return str(self.shown) if is_plain else json.dumps(self.shown, ensure_ascii=False, default=str)


def effective_values(workspace: Workspace, target: Target) -> tuple[Value, ...]:
    """
    Return everything that *target* is configured to be, sorted by path.

    From the wrangler config by its rules of inheritance, and from the portfolio: the blocks that serve it and the names
    of its secrets.

    Raises:
        TargetNotFound: No such target.
    """
    effective = workspace.effective(target)
    portfolio = workspace.portfolio
    values = [*config_values(effective)]
    blocks = {
        "account": portfolio.account_block_of(target),
        "secrets": portfolio.secrets_block_of(target),
        "protected": portfolio.environments[target.environment].protected,
    }
    for name, value in blocks.items():
        values.append(Value(f"portfolio.{name}", value, portfolio.place_of("environments", target.environment, name)))
    settings = portfolio.settings_of(target.service)
    place = portfolio.place_of("services", target.service)
    if settings.needs:
        values.append(Value("portfolio.needs", list(settings.needs), place))
    for name in settings.secrets:
        values.append(Value(f"secrets.{name}", "required", portfolio.place_of("services", target.service, "secrets")))
    for name in effective.required_secrets:
        values.append(Value(f"secrets.{name}", "required", effective.place_of("secrets", "required")))
    values += _older_values(target, effective)
    return by_path(values)


def config_values(effective: EffectiveConfig) -> tuple[Value, ...]:
    """Return the values of one flattened wrangler config, sorted by path."""
    values: list[Value] = []
    for key, value in effective.raw.items():
        if key == "secrets":
            continue
        if key == "name":
            place = effective.document.place_of(effective.origins.get("name", ("name",)))
            values.append(Value("name", effective.worker_name, place))
            continue
        origin = effective.origins.get(key, (key,))
        values += _leaves((_alias(key),), value, effective, origin)
    return by_path(values)


def beginning_with(values: Iterable[Value], prefix: str) -> tuple[Value, ...]:
    """
    Return those of *values* whose path begins with *prefix*: ``vars``, ``vars.LEVEL``, ``d1_databases.DB``.

    None at all is right for a key that may be configured and isn't.

    Raises:
        BadUsage: Nothing is called so; what is there is named.
    """
    everything = tuple(values)
    found = tuple(value for value in everything if value.path.startswith(prefix))
    beside = _beside(everything, prefix.split("."))
    if found or (prefix.partition(".")[0] in _KEYS and not any("." in name for name in beside)):
        return found
    known = beside if any("." in name for name in beside) else [*beside, *_KEYS]
    raise BadUsage(
        f'nothing that is configured is called "{prefix}"{did_you_mean(prefix, known)}',
        hint=f"There are {', '.join(beside)}.",
    )


def by_path(values: Iterable[Value]) -> tuple[Value, ...]:
    """Return *values* sorted; of two with one path the first counts."""
    found: dict[str, Value] = {}
    for value in values:
        found.setdefault(value.path, value)
    return tuple(found[path] for path in sorted(found))


def looks_secret(name: str, value: Any) -> bool:
    """Whether the name of a value, or its look, says that nobody should see it."""
    if not isinstance(value, str) or not value:
        return False
    return bool(_SECRET_NAME.search(name) or _LOGIN_IN_URL.search(value) or PROCESS_SECRETS.field(name, value) == MASK)


def _older_values(target: Target, effective: EffectiveConfig) -> Iterator[Value]:
    """Yield what an older layout's ``domains.js`` says of *target*; what it adds to the wrangler config is in there."""
    file = find_domains_file(effective.folder)
    if file is None:
        return
    try:
        domains = read_domains_file(file).domains
    except BadConfiguration as error:
        # Nothing is released by this file, so that it needn't be readable; `clodo config validate` says that it isn't.
        place, _, what = error.message.partition(": ")
        yield Value("domains", f"can't be read: {what}", place)
        return
    for domain in domains:
        said = {
            "account_id": domain.account_id,
            "zone_id": domain.zone_id,
            "host": domain.hosts.get(target.environment),
            **{f"databases.{name}": database for name, database in domain.databases.items()},
        }
        for name, value in said.items():
            if value is not None:
                yield Value(f"domains.{domain.name}.{name}", value.value, value.place)


def _beside(values: Sequence[Value], parts: Sequence[str]) -> list[str]:
    """Return the paths that stand where *parts* leaves what is there."""
    for depth in range(len(parts) - 1, -1, -1):
        above = "".join(f"{part}." for part in parts[:depth])
        inside = [value.path.removeprefix(above) for value in values if value.path.startswith(above)]
        if inside:
            return sorted({above + path.partition(".")[0] for path in inside})
    return []


def _alias(key: str) -> str:
    # One route or several: the same thing under two keys.
    return "routes" if key == "route" else key


def _leaves(names: tuple[str, ...], value: Any, effective: EffectiveConfig, path: KeyPath) -> Iterator[Value]:
    if isinstance(value, Mapping) and value:
        if names == ("routes",):
            yield from _leaves((*names, str(value.get("pattern"))), value, effective, path)
            return
        for key, item in value.items():
            yield from _leaves((*names, str(key)), item, effective, (*path, key))
        return
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _leaves((*names, _name_of(item, index)), item, effective, (*path, index))
        return
    if names == ("routes",) and isinstance(value, list):
        for index, item in enumerate(value):
            yield Value(f"routes.{item}.pattern", item, effective.document.place_of((*path, index)))
        return
    if names[0] == "routes" and len(names) <= 2 and isinstance(value, str):
        yield Value(f"routes.{value}.pattern", value, effective.document.place_of(path))
        return
    is_secret = names[0] in ("vars", "define") and looks_secret(names[-1], value)
    yield Value(".".join(names), value, effective.document.place_of(path), is_secret)


def _name_of(item: Any, index: int) -> str:
    if isinstance(item, Mapping):
        return next((str(item[name]) for name in _NAMES if item.get(name)), str(index))
    return str(item) if isinstance(item, str) else str(index)
