"""The account that Workers are released to, and the token that may do it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prefect.blocks.abstract import CredentialsBlock
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare

CLOUDFLARE_API = "https://api.cloudflare.com/client/v4"


class CloudflareAccount(CredentialsBlock):
    """
    Keeps a Cloudflare account's id and a token allowed to change it.

    Attributes:
        account_id: 32 hex digits, from the dashboard's address bar.
        api_token: Scoped to Workers, D1, KV and the zones' routes of this account only.
        base_url: The API's root; the embedded cloud's when rehearsing.
        edge_url: Where Workers' hostnames are reached instead of through DNS; only the embedded cloud has one.

    Examples:
        Load a saved account and list its Workers:

        ```python
        from blocks import CloudflareAccount

        account = CloudflareAccount.load("BLOCK_NAME")
        with account.get_client() as cloudflare:
            print(cloudflare.scripts.list())
        ```
    """

    # A complaint about a value must not quote it.
    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "Cloudflare Account"
    _block_type_slug = "cloudflare-account"
    _logo_url = HttpUrl("https://avatars.githubusercontent.com/u/314135?s=200&v=4")
    _documentation_url = HttpUrl("https://developers.cloudflare.com/fundamentals/api/get-started/create-token/")
    _description = "A Cloudflare account, and a token allowed to release Workers to it."

    account_id: str = Field(
        title="Account ID",
        description="32 hex digits, from the dashboard's address bar.",
        pattern=r"^[0-9a-f]{32}$",
    )
    api_token: SecretStr = Field(
        title="API token",
        description="Scoped API token: Workers Scripts, D1 and Workers KV (edit), and Workers Routes of its zones.",
    )
    base_url: str = Field(
        default=CLOUDFLARE_API,
        title="API root",
        description="Root of the API; that of the embedded cloud when rehearsing.",
    )
    edge_url: str | None = Field(
        default=None,
        title="Edge URL",
        description="Where Workers' hostnames are reached instead of through DNS; only for the embedded cloud.",
    )

    @field_validator("base_url", "edge_url")
    @classmethod
    def _is_a_safe_url(cls, url: str | None) -> str | None:
        """Refuse URLs that would send the token, or a smoke test's secrets, in clear over a network."""
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL like {CLOUDFLARE_API}")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError(f"{url!r} would carry the token unencrypted; use https, or a loopback address")
        return url.rstrip("/")

    @property
    def is_embedded(self) -> bool:
        """Whether it is an account of an embedded cloud, not of Cloudflare's."""
        return self.edge_url is not None and _is_loopback(urlsplit(self.base_url).hostname or "")

    def get_client(self) -> Cloudflare:
        """Return a client for this account; use it as a context manager."""
        from clodo.cloudflare.client import Cloudflare
        from clodo.secrets.token_store import resolve_token

        return Cloudflare(self.account_id, resolve_token(self.api_token.get_secret_value()), self.base_url)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
