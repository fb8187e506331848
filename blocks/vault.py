"""Where snapshots go, and who may open them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prefect.blocks.abstract import CredentialsBlock
from prefect.types import SecretDict
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

if TYPE_CHECKING:
    from clodo.backups.vault import Vault as Place

KNOWN_SCHEMES = ("", "file", "s3", "gs", "az", "azure", "abfss", "memory")


class Vault(CredentialsBlock):
    """
    Keeps a place for snapshots, and what it takes to write there.

    Attributes:
        url: A folder, `s3://bucket/prefix` (R2 too), `gs://bucket/prefix` or `az://container/prefix`.
        options: Credentials and settings of the place, in obstore's words.
        identity: Private age key that opens snapshots; leave it empty on machines that only back up.

    Examples:
        Load a saved vault and list its snapshots:

        ```python
        from blocks import Vault

        vault = Vault.load("BLOCK_NAME")
        print(vault.get_client().snapshots())
        ```
    """

    # A complaint about a value must not quote it.
    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "Vault"
    _block_type_slug = "vault"
    _logo_url = HttpUrl("https://avatars.githubusercontent.com/u/314135?s=200&v=4")
    _documentation_url = HttpUrl("https://developmentseed.org/obstore/latest/api/store/")
    _description = "A place for snapshots: a folder, R2, S3, GCS or Azure."

    url: str = Field(title="URL", description="A folder's path, s3://bucket/prefix, gs://…, az://….")
    options: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="access_key_id, secret_access_key, endpoint, region and the like, as obstore calls them.",
    )
    identity: SecretStr | None = Field(
        default=None,
        title="age identity",
        description="Private key (AGE-SECRET-KEY-1…) that opens snapshots; empty on machines that only back up.",
    )

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in KNOWN_SCHEMES:
            raise ValueError(f"{parts.scheme} is no kind of vault; there are {', '.join(filter(None, KNOWN_SCHEMES))}")
        if parts.username or parts.password or parts.query:
            raise ValueError("credentials belong into the options, not into the URL")
        return url

    @field_validator("identity")
    @classmethod
    def _is_an_identity(cls, identity: SecretStr | None) -> SecretStr | None:
        if identity is None or not identity.get_secret_value().strip():
            return None
        if not identity.get_secret_value().strip().upper().startswith(("AGE-SECRET-KEY-", "#")):
            raise ValueError("an age identity begins with AGE-SECRET-KEY-1")
        return identity

    def get_client(self, name: str | None = None) -> Place:
        """
        Return what reads and writes there.

        Args:
            name: What the vault is called in messages and the ledger; this block's name by default.
        """
        from clodo.backups.vault import Vault as Place

        options = {key: str(value) for key, value in self.options.get_secret_value().items()}
        return Place.open(name or self._block_document_name or "vault", self.url, options)
