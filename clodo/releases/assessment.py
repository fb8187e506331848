"""Whether a target needs a release at all: decided from values, in doubt never "unchanged"."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from clodo.releases.desired import Desired
from clodo.releases.triggers import Triggers

if TYPE_CHECKING:
    from clodo.cloudflare.scripts import Script
    from clodo.ledger.live import Live


CODE = "code or configuration"
"""What is said of a change that is in neither migrations, secrets nor triggers."""


class Standing(StrEnum):
    """How what is live stands to what is desired."""

    FIRST = "first"
    UNCHANGED = "unchanged"
    CHANGED = "changed"
    FOREIGN = "changed-elsewhere"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Assessment:
    """
    What a first look says, without a request for the target itself.

    Attributes:
        standing: FOREIGN and UNKNOWN ask for a second look.

        reasons: Why, one phrase each.
    """

    standing: Standing
    reasons: tuple[str, ...]

    @property
    def needs_a_look(self) -> bool:
        """Whether only a closer look can tell."""
        return self.standing in (Standing.FOREIGN, Standing.UNKNOWN)


def assess(
    desired: Desired, remembered: Live | None, listed: Script | None, triggers: Triggers | None = None
) -> Assessment:
    """
    Compare what is desired with what the ledger remembers and the account's list of scripts says.

    Args:
        triggers: What is remembered of them, brought up to date where the account's lists tell; by default what is
            remembered.

    "Unchanged" needs all of it: the same inputs, a hash that surely covers them, the same secrets and triggers, and a
    script that nobody has touched since our own last look.
    """
    if listed is None:
        gone = "somebody deleted the Worker" if remembered is not None else "there is no such Worker yet"
        return Assessment(Standing.FIRST, (gone,))
    if remembered is None:
        return Assessment(Standing.UNKNOWN, ("the ledger does not know what is live",))
    if not is_as_remembered(remembered, listed):
        return Assessment(Standing.FOREIGN, (f"somebody changed the Worker after release {remembered.release_id}",))
    reasons = tuple(_differences(desired, remembered, triggers or Triggers.from_json(remembered.triggers)))
    if reasons:
        return Assessment(Standing.CHANGED, reasons)
    if not desired.is_certain:
        return Assessment(Standing.UNKNOWN, ("the service's sources reach beyond what was hashed",))
    return Assessment(Standing.UNCHANGED, ())


def is_as_remembered(remembered: Live, listed: Script) -> bool:
    """Whether nobody touched the script since it was noted; without a date nothing shows that."""
    modified_on = listed.modified_on.isoformat() if listed.modified_on else ""
    noted = (remembered.script_etag, remembered.script_modified_on)
    return bool(modified_on) and (listed.etag or "", modified_on) == noted


def _differences(desired: Desired, remembered: Live, now: Triggers) -> list[str]:
    reasons: list[str] = []
    if desired.migrations_digest != remembered.migrations_digest:
        reasons.append("migrations")
    if desired.secrets_fingerprint != remembered.secrets_fingerprint:
        reasons.append("secrets")
    reasons.extend(desired.triggers.wanted_over(now).describe())
    if desired.input_hash != remembered.input_hash and not reasons:
        reasons.append(CODE)
    return reasons
