"""Clodo's settings: the one place (with the blocks) where the environment is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What an operator may set from outside.

    Attributes:
        cache_dir: Where the pinned toolchain and build caches live; per user.

        node: Path of one's own Node instead of the pinned one (``CLODO_NODE``).

        wrangler: Path of one's own ``wrangler-dist/cli.js`` or wrangler package (``CLODO_WRANGLER``).

        workerd: Path of one's own workerd (``CLODO_WORKERD``).

        ledger_url: SQLAlchemy URL of a shared ledger; None for the workspace's SQLite file (``CLODO_LEDGER_URL``).

        api_token: Token for ``clodo rollback --direct`` only, when no block can be read (``CLOUDFLARE_API_TOKEN``).

        account_id: The same, 32 hex digits (``CLOUDFLARE_ACCOUNT_ID``).

        base_url: The same, the API's root (``CLOUDFLARE_API_BASE_URL``).

        debug: Show tracebacks (``CLODO_DEBUG``).

        tool_environment: All variables, for the install and build commands that the user declared.
    """

    cache_dir: Path
    node: Path | None = None
    wrangler: Path | None = None
    workerd: Path | None = None
    ledger_url: str | None = None
    api_token: str | None = field(default=None, repr=False)
    account_id: str | None = None
    base_url: str | None = None
    debug: bool = False
    tool_environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from *environment*, the process's own by default."""
        variables = os.environ if environment is None else environment
        cache_home = variables.get("XDG_CACHE_HOME") or str(Path(variables.get("HOME") or Path.home()) / ".cache")

        def path(name: str) -> Path | None:
            value = variables.get(name)
            return Path(value).expanduser() if value else None

        return cls(
            cache_dir=path("CLODO_CACHE_DIR") or Path(cache_home) / "clodo",
            node=path("CLODO_NODE"),
            wrangler=path("CLODO_WRANGLER"),
            workerd=path("CLODO_WORKERD"),
            ledger_url=variables.get("CLODO_LEDGER_URL") or None,
            api_token=variables.get("CLOUDFLARE_API_TOKEN") or None,
            account_id=variables.get("CLOUDFLARE_ACCOUNT_ID") or None,
            base_url=variables.get("CLOUDFLARE_API_BASE_URL") or None,
            debug=variables.get("CLODO_DEBUG", "") not in ("", "0", "false"),
            tool_environment=dict(variables),
        )


def child_environment(*, without: tuple[str, ...] = (), environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that a child process gets: this process's own, less those that begin with *without*."""
    variables = os.environ if environment is None else environment
    return (
        {name: value for name, value in variables.items() if not name.startswith(without)} if without else {**variables}
    )
