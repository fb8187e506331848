"""What ``[backups]`` of the portfolio says: for whom snapshots are sealed, where they go, how long they stay."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

BackupKind = Literal["d1", "kv", "r2", "dns", "worker"]
ALL_KINDS: tuple[BackupKind, ...] = ("d1", "kv", "r2", "dns", "worker")
Count = Annotated[int, Field(ge=0)]
Texts = Annotated[tuple[str, ...], Field(strict=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Keep(_Section):
    """How many snapshots stay: the newest, and the newest of each hour, day, week, month and year that has one."""

    last: Count = 3
    hourly: Count = 0
    daily: Count = 14
    weekly: Count = 8
    monthly: Count = 12
    yearly: Count = 0


class ExportWindow(_Section):
    """
    When databases may be exported, which makes them unavailable.

    Attributes:
        window: ``02:00-03:00``; the second may be of the next day.

        time_zone: As the tz database names it.
    """

    window: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]
    time_zone: str = "UTC"

    @field_validator("window")
    @classmethod
    def _is_not_empty(cls, window: str) -> str:
        if len(set(window.split("-"))) == 1:
            raise ValueError("a window ends at another time than it begins")
        return window

    @field_validator("time_zone")
    @classmethod
    def _is_a_time_zone(cls, time_zone: str) -> str:
        try:
            ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f'"{time_zone}" is no time zone, such as Europe/Berlin') from error
        return time_zone

    def includes(self, moment: datetime) -> bool:
        """Whether *moment*, an aware time, lies in the window; its first minute does, its last doesn't."""
        begins, ends = self.window.split("-")
        now = moment.astimezone(ZoneInfo(self.time_zone)).strftime("%H:%M")
        return begins <= now < ends if begins < ends else not ends <= now < begins


class BackupSettings(_Section):
    """
    Backups of the portfolio.

    Attributes:
        recipients: Public age keys (``age1…``) whose owners can open snapshots; without one nothing is backed up.

        signers: Public keys (``ed25519:…``) of the machines whose snapshots are trusted; this machine's by default.

        vaults: Names of ``Vault`` blocks, each of which gets every snapshot; the folder ``.clodo/vault`` by default.

        include: Which kinds of resources.

        objective_hours: How old the newest good snapshot may be; after that it is an alarm.

        passes: How often a database is read at most while others write to it.

        notify: A Prefect notification block, ``type-slug/name``, that is told when that happens.

        keep: What pruning leaves.

        export: When databases may be exported; never without it.
    """

    recipients: Texts = ()
    signers: Texts = ()
    vaults: Texts = ()
    include: Annotated[tuple[BackupKind, ...], Field(strict=False)] = ALL_KINDS
    objective_hours: Annotated[float, Field(gt=0, strict=False)] = 26.0
    passes: Annotated[int, Field(ge=1, le=10)] = 3
    notify: Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")] | None = None
    keep: Keep = Field(default_factory=Keep)
    export: ExportWindow | None = None

    @field_validator("recipients")
    @classmethod
    def _are_recipients(cls, recipients: tuple[str, ...]) -> tuple[str, ...]:
        for recipient in recipients:
            if recipient.upper().startswith("AGE-SECRET-KEY-"):
                raise ValueError("a recipient is a public key (age1…); this is a private one, and now it is known")
            if not recipient.startswith("age1"):
                raise ValueError("a recipient begins with age1")
        return recipients

    @property
    def objective(self) -> timedelta:
        """How old the newest good snapshot may be."""
        return timedelta(hours=self.objective_hours)
