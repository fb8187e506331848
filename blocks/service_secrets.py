"""The secrets that Workers are released with."""

from __future__ import annotations

import re

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

TARGET = re.compile(r"[^@/\s]+@[^@/\s]+(/[^@/\s]+)?")
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

    # A complaint about a value must not quote it.
    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "Service Secrets"
    _block_type_slug = "service-secrets"
    _logo_url = HttpUrl("https://avatars.githubusercontent.com/u/314135?s=200&v=4")
    _documentation_url = HttpUrl("https://developers.cloudflare.com/workers/configuration/secrets/")
    _description = "Names and values of the secrets that Workers are released with, by target."

    # Prefect masks the leaves of a SecretDict in what its API answers; those of dict[str, dict[str, SecretStr]] it
    # gives away to everybody who may read blocks.
    targets: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="Per target (api@production, api@production/acme): names and values of its secrets.",
    )

    @field_validator("targets")
    @classmethod
    def _is_well_formed(cls, targets: SecretDict) -> SecretDict:
        for target, values in targets.get_secret_value().items():
            if not TARGET.fullmatch(target):
                raise ValueError(f"{target!r} is not a target like api@production or api@production/acme")
            if not isinstance(values, dict):
                raise ValueError(f"{target}: wants names and values of secrets")
            for name, value in values.items():
                if not SECRET_NAME.fullmatch(name):
                    raise ValueError(f"{target}: {name!r} can't be the name of a secret")
                if not isinstance(value, str | SecretStr):
                    raise ValueError(f"{target}: the value of {name} is not text")
        return SecretDict(
            {
                target: {
                    name: value.get_secret_value() if isinstance(value, SecretStr) else value
                    for name, value in values.items()
                }
                for target, values in targets.get_secret_value().items()
            }
        )

    def values_for(self, target: object) -> dict[str, SecretStr]:
        """Return the secrets of *target*, its environment's included; empty when none are kept."""
        kept: dict[str, dict[str, str]] = self.targets.get_secret_value()
        shared, _, customer = str(target).partition("/")
        values = dict(kept.get(shared, {}))
        if customer:
            values.update(kept.get(str(target), {}))
        return {name: SecretStr(value) for name, value in values.items()}
