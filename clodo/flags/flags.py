"""Feature flags as they are declared, and what each target is served."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from clodo.flags.hashing import BUCKETS, bucket_of

FLAG_NAME_LETTERS = "lower-case letters, digits, - and _"
FlagType = Literal["bool", "string", "number", "json"]


def is_flag_name(text: str) -> bool:
    """Whether *text* can name a flag."""
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    return bool(text) and len(text) <= 64 and set(text) <= allowed and text[0] not in "-_"


def _binding(text: str) -> str:
    if not text.isidentifier() or not text.isascii():
        raise ValueError("a variable's name has letters, digits and _ only, and no digit first")
    return text


def _percent(value: float) -> float:
    if not 0 <= value <= 100 or not math.isclose(value * 100, round(value * 100), abs_tol=1e-6):
        raise ValueError("a percentage is from 0 to 100 and has two decimals at most")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Setting(_Section):
    """
    What a flag is somewhere.

    Attributes:
        value: Of the flag's type.

        percent: Of the subjects that get *value*; the others get the flag's default. None for all.
    """

    value: JsonValue
    percent: Annotated[float, Field(strict=False), AfterValidator(_percent)] | None = None


class Flag(_Section):
    """
    One feature flag.

    Attributes:
        default: What everybody gets where nothing else is said.

        expires: The day by which it is to be gone from code and config; it does not change what is served.

        environments: By environment.

        customers: By customer, or ``customer@environment``; counts more than *environments*.
    """

    type: FlagType
    default: JsonValue
    expires: date | None = None
    description: str = ""
    environments: dict[str, Setting] = Field(default_factory=dict)
    customers: dict[str, Setting] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _values_have_the_type(self) -> Flag:
        everywhere = {"default": self.default}
        everywhere |= {f"environments.{name}": setting.value for name, setting in self.environments.items()}
        everywhere |= {f"customers.{name}": setting.value for name, setting in self.customers.items()}
        for place, value in everywhere.items():
            if not has_type(value, self.type):
                raise ValueError(f"{place} is not of the type {self.type}")
        return self

    def setting_for(self, environment: str, customer: str | None) -> Setting:
        """Return what holds for a target: the most particular that is said."""
        if customer is not None:
            for name in (f"{customer}@{environment}", customer):
                if name in self.customers:
                    return self.customers[name]
        return self.environments.get(environment) or Setting(value=self.default)

    def is_expired(self, today: date) -> bool:
        """Whether it should be gone."""
        return self.expires is not None and self.expires < today


class ServiceFlags(_Section):
    """
    The flags of one service: a file ``config/flags/<service>.toml``.

    Attributes:
        delivery: ``vars``: in a variable, with the next release. ``kv``: in a KV namespace, without one.

        binding: Name of the variable, or of the KV namespace's binding in the wrangler config.
    """

    delivery: Literal["vars", "kv"] = "vars"
    binding: Annotated[str, AfterValidator(_binding)] = "FLAGS"
    flags: dict[str, Flag] = Field(default_factory=dict)


def has_type(value: JsonValue, wanted: FlagType) -> bool:
    """Whether *value* is of a flag's type; true is no number, and json is anything."""
    match wanted:
        case "bool":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "number":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and math.isfinite(value)  # type: ignore[arg-type]
        case "json":
            return True


def served(declared: ServiceFlags, environment: str, customer: str | None) -> dict[str, Any]:
    """Return the document that a target's Worker evaluates: by flag, ``value``, and ``percent`` and ``default``."""
    document: dict[str, Any] = {}
    for name, flag in sorted(declared.flags.items()):
        setting = flag.setting_for(environment, customer)
        document[name] = {"value": setting.value}
        if setting.percent is not None:
            document[name] |= {"percent": setting.percent, "default": flag.default}
    return document


def evaluate(document: Mapping[str, Any], name: str, subject: str | None, fallback: JsonValue = None) -> JsonValue:
    """
    Return what *subject* gets of a flag, exactly as `flags.mjs` does in the Worker.

    Args:
        document: From `served`.

        subject: Who asks; None, in a percent rollout, gets the default.

        fallback: For a flag that isn't there.
    """
    flag = document.get(name)
    if flag is None:
        return fallback
    if "percent" not in flag:
        value: JsonValue = flag["value"]
        return value
    is_in = subject is not None and bucket_of(name, subject) < round(flag["percent"] * BUCKETS / 100)
    chosen: JsonValue = flag["value"] if is_in else flag["default"]
    return chosen


def canonical(document: Mapping[str, Any]) -> str:
    """Return *document* as the JSON that is delivered."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
