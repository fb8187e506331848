"""The portfolio: what `portfolio.toml` says about the workspace's environments and services."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from clodo.errors import BadConfiguration
from clodo.workspace.backup_settings import BackupSettings
from clodo.workspace.documents import Document, KeyPath, did_you_mean, read_document
from clodo.workspace.targets import Target

FILE_NAME = "portfolio.toml"
DEFAULT_ENVIRONMENT = "production"
DEFAULT_ACCOUNT = "default"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_BLOCK_NAME = re.compile(r"[a-z0-9-]+")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_METHOD = re.compile(r"[A-Z]+")
_SECRET_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


Texts = Annotated[tuple[str, ...], Field(strict=False)]


def _block_name(text: str) -> str:
    if not _BLOCK_NAME.fullmatch(text):
        raise ValueError("a block's name has lower-case letters, digits and - only")
    return text


def _block_pattern(text: str) -> str:
    unknown = [name for name in _PLACEHOLDER.findall(text) if name not in ("service", "environment", "customer")]
    if unknown:
        raise ValueError(f"unknown placeholder {{{unknown[0]}}}; there are {{service}}, {{environment}}, {{customer}}")
    if not _BLOCK_NAME.fullmatch(_PLACEHOLDER.sub("x", text)):
        raise ValueError("a block's name has lower-case letters, digits and - only")
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError('a path starts with "/"')
    return text


def _method(text: str) -> str:
    if not _METHOD.fullmatch(text):
        raise ValueError('a method is written in capitals, such as "POST"')
    return text


def _secret_name(text: str) -> str:
    if not _SECRET_NAME.fullmatch(text):
        raise ValueError("the name of a secret has letters, digits and _ only, and no digit first")
    return text


def _reason(text: str) -> str:
    if not text.strip():
        raise ValueError("a waiver says why")
    return text


def _command(text: str) -> str:
    if not text.strip():
        raise ValueError("a command can't be empty; write false to have none")
    return text


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=False)


class Freeze(_Section):
    """
    A time in which nothing is released.

    Attributes:
        starts: With an offset; the first moment of the freeze.

        ends: With an offset; the first moment after it.

        reason: Shown to whoever is refused.
    """

    starts: AwareDatetime
    ends: AwareDatetime
    reason: str = ""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Freeze:
        if self.ends <= self.starts:
            raise ValueError("a freeze ends after it starts")
        return self

    def includes(self, moment: datetime) -> bool:
        """Whether *moment*, an aware time, lies in the freeze."""
        return self.starts <= moment < self.ends


class Environment(_Section):
    """
    One environment of the portfolio.

    Attributes:
        account: Name of the ``CloudflareAccount`` block that serves it.

        secrets: Name of the ``ServiceSecrets`` block of a target; ``{service}``, ``{environment}``, ``{customer}``
            are filled in. By default ``<service>-<environment>`` (and ``-<customer>``).

        protected: Releases ask for a person's yes, and refuse a ledger that only one machine can see.

        freeze: When nothing is released.
    """

    account: Annotated[str, AfterValidator(_block_name)] = DEFAULT_ACCOUNT
    secrets: Annotated[str, AfterValidator(_block_pattern)] | None = None
    protected: bool = False
    freeze: Annotated[tuple[Freeze, ...], Field(strict=False)] = ()

    def frozen_at(self, moment: datetime) -> Freeze | None:
        """Return the freeze that *moment*, an aware time, lies in."""
        return next((freeze for freeze in self.freeze if freeze.includes(moment)), None)


class SmokeTest(_Section):
    """
    One request to a new version, and what its answer must be.

    Attributes:
        path: From ``/``; may have a query.

        method: In capitals.

        headers: Sent as they are; no secrets, the file is in the repository.

        body: Sent as UTF-8.

        expect_status: The only status that passes.

        expect_body_contains: Text that the answer's body must contain.

        expect_json: What the answer's JSON must contain: tables are compared key by key, everything else whole.

        timeout_seconds: For the whole request.

        version_header: Response header in which the Worker names the version that answered.

        version_json: The same, as a dotted path into the answer's JSON (``version.id``).
    """

    path: Annotated[str, AfterValidator(_path)]
    method: Annotated[str, AfterValidator(_method)] = "GET"
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    expect_status: Annotated[int, Field(ge=100, le=599)] = 200
    expect_body_contains: str | None = None
    expect_json: JsonValue | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=300, strict=False)] = 10.0
    version_header: str | None = None
    version_json: str | None = None

    @model_validator(mode="after")
    def _one_way_to_name_the_version(self) -> SmokeTest:
        if self.version_header and self.version_json:
            raise ValueError('give "version_header" or "version_json", not both')
        return self


class OnFailure(_Section):
    """
    What becomes of the database when a release fails after its migrations.

    Attributes:
        database: ``keep`` the new schema (the old version was just shown to work on it), or ``time-travel`` back when
            that provably loses nothing: nobody wrote since, and the rows (of a database of up to 4 MiB) are as before.
    """

    database: Literal["keep", "time-travel"] = "keep"


class Probe(_Section):
    """
    A request that a Worker answers differently to a good key and to a bad one.

    Attributes:
        path, method, body: Of the request.

        headers: May hold ``{secret}``, ``{jwt}`` (a token of one minute, signed with the secret by HS256) and
            ``{signature}`` (HMAC-SHA256 of the body, in hex); so may *body*, but for the last.

        accepts: Status of the answer to a good key.

        refuses: Status of the answer to a bad one.
    """

    path: Annotated[str, AfterValidator(_path)]
    method: Annotated[str, AfterValidator(_method)] = "GET"
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    accepts: Annotated[int, Field(ge=100, le=599)] = 200
    refuses: Annotated[int, Field(ge=100, le=599)] = 401

    @model_validator(mode="after")
    def _shows_a_difference(self) -> Probe:
        if self.accepts == self.refuses:
            raise ValueError("a probe accepts and refuses with different statuses")
        said = " ".join((*self.headers.values(), self.body or ""))
        if not any(mark in said for mark in ("{secret}", "{jwt}", "{signature}")):
            raise ValueError("a probe shows the key: put {secret}, {jwt} or {signature} into a header or the body")
        return self


class Rotation(_Section):
    """
    How one secret is replaced.

    Attributes:
        kind: What a new one is made like; None for like the one before, as far as that is known.

        prefix: What a key of kind ``api`` begins with.

        every_days: After so many days a new one is due; None for never.

        previous: Name of the secret in which the service also accepts the key before; None when it accepts only one.

        grace_hours: How long the key before stays good.

        probe: Shows through the running Worker which keys are accepted.
    """

    kind: Literal["jwt", "api", "password", "database", "webhook"] | None = None
    prefix: str = ""
    every_days: Annotated[int, Field(ge=1)] | None = None
    previous: Annotated[str, AfterValidator(_secret_name)] | None = None
    grace_hours: Annotated[float, Field(ge=0, strict=False)] = 24.0
    probe: Probe | None = None


class ServiceSettings(_Section):
    """
    What the portfolio says about one service.

    Attributes:
        environments: Where it is deployed; None for every environment of the portfolio that its config knows.

        needs: Services that must be live first, beyond those its bindings name.

        tags: Words by which backups are selected.

        install: Shell command that replaces the detected ``npm ci``; false for none.

        build: Shell command that replaces ``[build]`` of the wrangler config and the package's script; false for none.

        secrets: Names that the target's ``ServiceSecrets`` block must hold.

        smoke_tests: Asked of every new version, in this order.

        smoke_tests_through: Service whose address the smoke tests are sent to when none leads to this one's Worker; it
            passes them on over a service binding, headers and all.

        on_failure: What an undo does beyond traffic and triggers.

        way_back_hours: So long after a release its way back to the version before stays open: until then contract
            migrations wait, which that version might not survive.

        rotation: How secrets are replaced, by name.
    """

    environments: Texts | None = None
    needs: Texts = ()
    tags: Texts = ()
    install: Annotated[str, AfterValidator(_command)] | Literal[False] | None = None
    build: Annotated[str, AfterValidator(_command)] | Literal[False] | None = None
    secrets: Annotated[tuple[Annotated[str, AfterValidator(_secret_name)], ...], Field(strict=False)] = ()
    smoke_tests: Annotated[tuple[SmokeTest, ...], Field(strict=False)] = ()
    smoke_tests_through: str | None = None
    on_failure: OnFailure = Field(default_factory=OnFailure)
    way_back_hours: Annotated[float, Field(ge=0, strict=False)] = 24.0
    rotation: dict[Annotated[str, AfterValidator(_secret_name)], Rotation] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _knows_what_to_ask_through_others(self) -> ServiceSettings:
        if self.smoke_tests_through is not None and not self.smoke_tests:
            raise ValueError("smoke_tests_through needs smoke_tests, which say what the other service passes on")
        return self


class Waiver(_Section):
    """
    A security finding that somebody answers for, until a day.

    Attributes:
        rule: The rule's name.

        reason: Why it is all right.

        expires: The last day on which it counts.

        target, key: Globs of what it is for.
    """

    rule: str
    reason: Annotated[str, AfterValidator(_reason)]
    expires: date
    target: str = "*"
    key: str = "*"


class SecuritySettings(_Section):
    """What the portfolio says about security rules."""

    waivers: Annotated[tuple[Waiver, ...], Field(strict=False)] = ()


class PortfolioHead(_Section):
    """
    The portfolio itself.

    Attributes:
        name: Shown in runs and artifacts; the folder's name by default.

        default_environment: What a bare ``api`` means; ``production`` by default.
    """

    name: str | None = None
    default_environment: str | None = None


class _PortfolioFile(_Section):
    portfolio: PortfolioHead = Field(default_factory=PortfolioHead)
    environments: dict[str, Environment] = Field(default_factory=dict)
    services: dict[str, ServiceSettings] = Field(default_factory=dict)
    backups: BackupSettings = Field(default_factory=BackupSettings)
    security: SecuritySettings = Field(default_factory=SecuritySettings)


@dataclass(frozen=True, slots=True)
class Portfolio:
    """
    The targets that belong together, with what needs what.

    Attributes:
        name: Shown in runs and artifacts.

        default_environment: What a bare ``api`` means; always one of *environments*.

        environments: By name, in the file's order; never empty.

        services: By name; a service without a section has the defaults (see `settings_of`).

        document: The file, for places; None for the default portfolio.

        security: Waivers of security findings.
    """

    name: str
    default_environment: str
    environments: Mapping[str, Environment]
    services: Mapping[str, ServiceSettings]
    document: Document | None = field(default=None, repr=False)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    backups: BackupSettings = field(default_factory=BackupSettings)

    @classmethod
    def default(cls, name: str) -> Portfolio:
        """Return what holds without a ``portfolio.toml``: every service, in production, by the block ``default``."""
        environments = MappingProxyType({DEFAULT_ENVIRONMENT: Environment()})
        return cls(name, DEFAULT_ENVIRONMENT, environments, MappingProxyType({}))

    @classmethod
    def read(cls, file: Path) -> Portfolio:
        """
        Read ``portfolio.toml``.

        Raises:
            BadConfiguration: Unreadable, an unknown key, a wrong value; the message opens with file:line.
        """
        return cls.from_document(read_document(file.absolute()))

    @classmethod
    def from_document(cls, document: Document) -> Portfolio:
        """
        Check *document* and give it its defaults.

        Raises:
            BadConfiguration: As `read`.
        """
        try:
            parsed = _PortfolioFile.model_validate(document.data)
        except ValidationError as error:
            raise _first_fault(document, error) from None
        environments = parsed.environments or {DEFAULT_ENVIRONMENT: Environment()}
        for section, names in (("environments", environments), ("services", parsed.services)):
            for name in names:
                if not _NAME.fullmatch(name):
                    raise document.error(
                        (section, name), f'"{name}" can\'t be a name', hint="Use letters, digits, - _ and . only."
                    )
        _raise_if_environments_are_unknown(document, parsed, tuple(environments))
        return cls(
            name=parsed.portfolio.name or document.file.parent.name,
            default_environment=_default_environment(document, parsed, tuple(environments)),
            environments=MappingProxyType(dict(environments)),
            services=MappingProxyType(dict(parsed.services)),
            document=document,
            security=parsed.security,
            backups=parsed.backups,
        )

    def settings_of(self, service: str) -> ServiceSettings:
        """Return the service's settings; the defaults when it has no section."""
        return self.services.get(service) or ServiceSettings()

    def account_block_of(self, target: Target) -> str:
        """Return the name of the ``CloudflareAccount`` block that serves *target*."""
        return self.environments[target.environment].account

    def secrets_block_of(self, target: Target) -> str:
        """Return the name of the ``ServiceSecrets`` block of *target*, in the letters Prefect allows."""
        pattern = self.environments[target.environment].secrets or "{service}-{environment}-{customer}"
        name = pattern.format(
            service=target.service, environment=target.environment, customer=target.customer or ""
        ).lower()
        return re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9-]", "-", name)).strip("-")

    def place_of(self, *path: str | int) -> str:
        """Return ``file:line`` of a value; ``portfolio.toml`` when there is no file."""
        return self.document.place_of(path) if self.document else FILE_NAME

    def error(self, *path: str | int, what: str, hint: str | None = None) -> BadConfiguration:
        """Build the error that says *what* is wrong at *path*; the caller raises it."""
        return BadConfiguration(f"{self.place_of(*path)}: {what}", hint=hint)


def _default_environment(document: Document, parsed: _PortfolioFile, environments: Sequence[str]) -> str:
    given = parsed.portfolio.default_environment
    if given is None:
        if DEFAULT_ENVIRONMENT in environments or len(environments) == 1:
            return DEFAULT_ENVIRONMENT if DEFAULT_ENVIRONMENT in environments else environments[0]
        raise document.error(
            ("portfolio",),
            "which environment a bare service name means is not said",
            hint=f'Add default_environment = "{environments[0]}" to [portfolio].',
        )
    if given not in environments:
        what = f'the default environment "{given}" is not among [environments]{did_you_mean(given, environments)}'
        raise document.error(("portfolio", "default_environment"), what)
    return given


def _raise_if_environments_are_unknown(document: Document, parsed: _PortfolioFile, environments: Sequence[str]) -> None:
    for service, settings in parsed.services.items():
        for index, name in enumerate(settings.environments or ()):
            if name not in environments:
                raise document.error(
                    ("services", service, "environments", index),
                    f'"{name}" is not among [environments]{did_you_mean(name, environments)}',
                    hint=f"Add an [environments.{name}] section, or correct the name.",
                )


def _first_fault(document: Document, error: ValidationError) -> BadConfiguration:
    faults = sorted(
        ((_path_in(document.data, fault["loc"]), fault) for fault in error.errors()),
        key=lambda pair: document.line_of(pair[0]),
    )
    path, fault = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    what, hint = _sentence(document.data, path, fault)
    return document.error(path, what + more, hint=hint)


def _sentence(data: Mapping[str, Any], path: KeyPath, fault: Mapping[str, Any]) -> tuple[str, str | None]:
    key = str(path[-1]) if path else FILE_NAME
    kind = fault["type"]
    if kind == "extra_forbidden":
        known = _fields_at(path[:-1])
        hint = "Known here: " + ", ".join(sorted(known)) + "." if known else None
        return f'unknown key "{key}"{did_you_mean(key, known)}', hint
    if kind == "missing":
        return f'"{_dotted(path)}" lacks "{fault["loc"][-1]}"', None
    if kind == "value_error":
        return f'"{_dotted(path)}": {fault["ctx"]["error"]}', None
    message = str(fault["msg"]).replace("Input should be", "must be").replace("a valid tuple", "a list")
    return f'"{_dotted(path)}": {message[:1].lower()}{message[1:]}', None


def _path_in(data: Any, loc: Sequence[str | int]) -> KeyPath:
    """Keep of pydantic's location what stands in the file; it also names union members and missing keys."""
    path: list[str | int] = []
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            break
        path.append(part)
    return tuple(path)


def _fields_at(path: KeyPath) -> list[str]:
    """Return the keys that a section may have."""
    sections: list[tuple[tuple[str | None, ...], type[_Section]]] = [
        ((), _PortfolioFile),
        (("portfolio",), PortfolioHead),
        (("environments", None), Environment),
        (("environments", None, "freeze", None), Freeze),
        (("services", None), ServiceSettings),
        (("services", None, "smoke_tests", None), SmokeTest),
        (("services", None, "on_failure"), OnFailure),
        (("services", None, "rotation", None), Rotation),
        (("services", None, "rotation", None, "probe"), Probe),
        (("security",), SecuritySettings),
        (("security", "waivers", None), Waiver),
    ]
    for pattern, section in sections:
        if len(pattern) == len(path) and all(
            expected in (None, given) for expected, given in zip(pattern, path, strict=True)
        ):
            return list(section.model_fields)
    return []


def _dotted(path: KeyPath) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or FILE_NAME
