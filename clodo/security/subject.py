"""What the rules look at: a target's settings as values, with their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clodo.security.asset_headers import AssetHeaders
    from clodo.workspace.effective_config import EffectiveConfig


class Stage(StrEnum):
    """How much harm a mistake does where a target runs."""

    PRODUCTION = "production"
    STAGING = "staging"
    DEVELOPMENT = "development"

    @classmethod
    def of(cls, environment: str, *, is_protected: bool = False) -> Stage:
        """Return the stage of an environment: by its name, and what is protected counts as production."""
        if is_protected or environment in ("production", "prod", "live"):
            return cls.PRODUCTION
        if environment in ("development", "dev", "local", "test"):
            return cls.DEVELOPMENT
        return cls.STAGING


class Kind(StrEnum):
    """Where a setting is kept."""

    VARIABLE = "variable"
    ENV_FILE = "env file"
    SECRET = "secret"  # noqa: S105 -- the word, no secret


@dataclass(frozen=True, slots=True)
class Setting:
    """
    A name with a value.

    Attributes:
        name: Dotted for what is inside a JSON variable (``LIMITS.upload.url``).

        text: The value; numbers and booleans as JSON writes them.

        place: ``file:line`` of the value; of the name's declaration for a secret.
    """

    name: str
    text: str = field(repr=False)
    place: str
    kind: Kind


class Source(StrEnum):
    """Where a scan found a credential."""

    FILE = "file"
    HISTORY = "history"


@dataclass(frozen=True, slots=True)
class Leak:
    """
    A credential that a scan found; never the credential itself.

    Attributes:
        key: The name it has there, or what kind it is.

        what: A clause that begins with the key.

        is_certain: Whether its shape leaves no doubt.
    """

    source: Source
    key: str
    place: str
    what: str
    is_certain: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """
    One target, or the settings of one file, as the rules see it.

    Attributes:
        name: The target's name; the file's for settings that belong to no single target.

        config: None when there is only a file of settings.

        missing: Secrets that the target needs and that nobody keeps.

        twins: Secret's name to the targets of other environments that hold the same value.

        headers: What the assets' ``_headers`` file says; None without assets.

        leaks: What scans found.

        keys_beside: ``file:line`` of the encryption key of saved blocks, when it lies beside their database.

        today: UTC.
    """

    name: str
    stage: Stage
    settings: tuple[Setting, ...]
    today: date
    config: EffectiveConfig | None = None
    missing: tuple[Setting, ...] = ()
    twins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: AssetHeaders | None = None
    leaks: tuple[Leak, ...] = ()
    keys_beside: str | None = None

    def of_kind(self, *kinds: Kind) -> Iterator[Setting]:
        """Yield the settings of some kinds."""
        return (setting for setting in self.settings if setting.kind in kinds)


def leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the text of each scalar in *value*."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(f"{name}[{index}]", item)
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    elif value is not None:
        yield name, str(value)
