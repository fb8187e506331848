"""What an embedded cloud is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """
    Where an embedded cloud keeps its data, listens, and what it starts with.

    Attributes:
        data: Folder of everything that survives a restart; made with mode 0700.

        workerd: Path of the workerd binary that runs the Workers.

        host: Address to listen on. Loopback, unless somebody knows why not.

        port: Port to listen on; 0 takes any free one.

        account_id: The first account, 32 hex digits; kept from the last start, or made up.

        token: API token of the first account's user; kept from the last start, or made up.

        zones: Names of zones that the first account must have.

        workers_subdomain: The first account's ``<this>.workers.dev``; made up if None.

        rate_limit: Whether 1,200 requests per five minutes and user are all one gets.

        seed: Of the traffic split between versions, for rehearsals that repeat themselves.
    """

    data: Path
    workerd: Path
    host: str = "127.0.0.1"
    port: int = 8787
    account_id: str | None = None
    token: str | None = field(default=None, repr=False)
    zones: tuple[str, ...] = ()
    workers_subdomain: str | None = None
    rate_limit: bool = False
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """
    What a client needs to use one account of the embedded cloud.

    Attributes:
        account_id: 32 hex digits.

        token: A user's API token that may do everything in this account.

        subdomain: Workers answer at ``<name>.<subdomain>.workers.dev``.

        zone: Name of the account's first zone, None if it has none.

        zone_id: The same zone's id.
    """

    account_id: str
    token: str = field(repr=False)
    subdomain: str
    zone: str | None
    zone_id: str | None
