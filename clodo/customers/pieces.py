"""The six pieces of a customer's deployment, each from where it really lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clodo.workspace.customers import CUSTOMER_DOMAIN, CustomerSettings
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace


class Token(StrEnum):
    """Whether an API token is there; never the token."""

    SET = "set"
    MISSING = "missing"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Piece:
    """One value, and ``file:line``, or words, of where it stands."""

    value: str
    place: str

    def to_json(self) -> dict[str, str]:
        """Return a JSON object."""
        return {"value": self.value, "place": self.place}


@dataclass(frozen=True, slots=True)
class Pieces:
    """
    What one deployment of a customer consists of.

    Attributes:
        target: None where an env file stands alone: no service has a section for it.

        token: Of the block that serves the environment.

        token_in_worker: Name of a secret of the Worker that is such a token, when the service declares one.
    """

    customer: str
    environment: str
    target: Target | None
    worker: str | None
    account_id: Piece | None
    zone_id: Piece | None
    token: Token
    token_block: str
    token_in_worker: str | None
    domain: Piece | None
    database_id: Piece | None
    database_name: Piece | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; ids whole."""
        pieces = {
            name: piece.to_json() if (piece := getattr(self, name)) is not None else None
            for name in ("account_id", "zone_id", "domain", "database_id", "database_name")
        }
        return {
            "customer": self.customer,
            "environment": self.environment,
            "target": None if self.target is None else str(self.target),
            "worker": self.worker,
            "token": self.token.value,
            "token_block": self.token_block,
            "token_in_worker": self.token_in_worker,
            **pieces,
        }

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the pieces that are not said anywhere; a service without a database misses none."""
        named = {"account id": self.account_id, "zone id": self.zone_id, "domain": self.domain}
        found = [name for name, piece in named.items() if piece is None]
        return (*found, "API token") if self.token is Token.MISSING else tuple(found)


TOKEN_NAMES = ("CLOUDFLARE_API_TOKEN", "CF_API_TOKEN")
"""Names of secrets by which a service declares that it needs an API token itself."""


def pieces_of(
    workspace: Workspace,
    *,
    customer: str | None = None,
    token: Callable[[str], Token] = lambda block: Token.NOT_ASKED,
    account_id: Callable[[str], str | None] = lambda block: None,
) -> tuple[Pieces, ...]:
    """
    Return the pieces of all deployments of customers, by customer, environment and service.

    Args:
        customer: Only this one's.

        token: Says of a ``CloudflareAccount`` block whether it holds a token.

        account_id: Gives a block's account, for configs that leave it to the block.
    """
    found: list[Pieces] = []
    for settings in workspace.customers:
        if customer in (None, settings.customer):
            rows = tuple(_rows(workspace, settings, token, account_id))
            found += rows or (_alone(workspace, settings, token),)
    return tuple(found)


def targets_of_customer(workspace: Workspace, settings: CustomerSettings) -> Iterator[tuple[Target, EffectiveConfig]]:
    """Yield the targets that serve a customer in an environment, also those for it alone, by the names they have."""
    for service in workspace.services:
        target = workspace.target_of(service.name, settings.environment, settings.customer)
        if target is not None:
            yield target, workspace.effective(target)


def _rows(
    workspace: Workspace,
    settings: CustomerSettings,
    token: Callable[[str], Token],
    account_id: Callable[[str], str | None],
) -> Iterator[Pieces]:
    for target, config in targets_of_customer(workspace, settings):
        block = workspace.portfolio.account_block_of(target)
        needed = {*workspace.portfolio.settings_of(target.service).secrets, *config.required_secrets}
        database = config.databases[0] if config.databases else None
        yield Pieces(
            customer=settings.customer,
            environment=settings.environment,
            target=target,
            worker=config.worker_name,
            account_id=_account(config, block, account_id),
            zone_id=zone_of(config),
            token=token(block),
            token_block=block,
            token_in_worker=next((name for name in TOKEN_NAMES if name in needed), None),
            domain=_domain(settings),
            database_id=Piece(database.database_id, database.place) if database and database.database_id else None,
            database_name=Piece(database.database_name, database.place) if database else None,
        )


def _alone(workspace: Workspace, settings: CustomerSettings, token: Callable[[str], Token]) -> Pieces:
    environment = workspace.portfolio.environments.get(settings.environment)
    block = environment.account if environment is not None else ""
    return Pieces(
        customer=settings.customer,
        environment=settings.environment,
        target=None,
        worker=None,
        account_id=_misplaced(settings, "account_id"),
        zone_id=_misplaced(settings, "zone_id"),
        token=token(block) if block else Token.MISSING,
        token_block=block,
        token_in_worker=None,
        domain=_domain(settings),
        database_id=_misplaced(settings, "database_id"),
        database_name=_misplaced(settings, "database_name"),
    )


def zone_of(config: EffectiveConfig) -> Piece | None:
    """Return the zone that a config names: ``zone_id`` of its section, else that of its first route with one."""
    own = config.raw.get("zone_id")
    if isinstance(own, str) and own:
        return Piece(own, config.place_of("zone_id"))
    return next((Piece(route.zone_id, route.place) for route in config.routes if route.zone_id), None)


def _account(config: EffectiveConfig, block: str, account_id: Callable[[str], str | None]) -> Piece | None:
    if config.account_id is not None:
        return Piece(config.account_id, config.place_of("account_id"))
    known = account_id(block)
    return Piece(known, f"block {block}") if known is not None else None


def _domain(settings: CustomerSettings) -> Piece | None:
    name = settings.name_of(CUSTOMER_DOMAIN)
    return Piece(settings.env.values[name], settings.env.place_of(name)) if name is not None else None


def _misplaced(settings: CustomerSettings, key: str) -> Piece | None:
    found = settings.misplaced(key)
    return Piece(found[1], settings.env.place_of(found[0])) if found is not None else None
