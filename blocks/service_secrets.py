"""The secrets that Workers are released with."""

from __future__ import annotations

import re

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr, field_validator

SCOPE = re.compile(r"[^@/\s]+@[^@/\s]+(/[^@/\s]+)?")
SECRET_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


class ServiceSecrets(Block):
    """
    Keeps the secrets of Workers, by target.

    Attributes:
        targets: Per target (`api@production`, `api@production/acme`), names and values.
            A customer's target also gets its environment's secrets; where both name one, the customer's counts.

    Examples:
        Load saved secrets and read those of one target:

        ```python
        from blocks import ServiceSecrets

        secrets = ServiceSecrets.load("BLOCK_NAME")
        names = sorted(secrets.values_for("api@production/acme"))
        ```
    """

    _block_type_name = "Service Secrets"
    _block_type_slug = "service-secrets"
    _logo_url = HttpUrl("https://avatars.githubusercontent.com/u/314135?s=200&v=4")
    _documentation_url = HttpUrl("https://developers.cloudflare.com/workers/configuration/secrets/")
    _description = "Names and values of the secrets that Workers are released with, by target."

    targets: dict[str, dict[str, SecretStr]] = Field(
        default_factory=dict,
        description="Per target (api@production, api@production/acme): names and values of its secrets.",
    )

    @field_validator("targets")
    @classmethod
    def _is_well_named(cls, targets: dict[str, dict[str, SecretStr]]) -> dict[str, dict[str, SecretStr]]:
        for target, values in targets.items():
            if not SCOPE.fullmatch(target):
                raise ValueError(f"{target!r} is not a target like api@production or api@production/acme")
            for name in values:
                if not SECRET_NAME.fullmatch(name):
                    raise ValueError(f"{target}: {name!r} can't be the name of a secret")
        return targets

    def values_for(self, target: str) -> dict[str, SecretStr]:
        """Return the secrets of *target*, its environment's included; empty when none are kept."""
        shared, _, customer = str(target).partition("/")
        values = dict(self.targets.get(shared, {}))
        if customer:
            values.update(self.targets.get(str(target), {}))
        return values
