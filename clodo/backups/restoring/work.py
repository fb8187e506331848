"""What steps of a restore need, and how they end when what came back is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from clodo.backups.restoring.plan import Step
from clodo.backups.restoring.sources import Source
from clodo.cloudflare.budget import Lane
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import Clock
from clodo.errors import VerificationFailed

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Work:
    """
    What steps need.

    Attributes:
        client: Gives a view of the step's account that checks before each write.

        source: Gives the archive that a step restores.

        undo_source: Gives the same when the step is taken back, out of the first vault that can be read.

        safety_source: Gives the archive of what a step overwrites.

        scratch: Folder for SQL text on its way.
    """

    client: Callable[[Step], Cloudflare]
    source: Callable[[Step], Source]
    undo_source: Callable[[Step], Source]
    safety_source: Callable[[Step, str], Source]
    scratch: Path
    table: str | None
    prefix: str | None
    say: Callable[[str], None]
    clock: Clock

    def undoing(self) -> Work:
        """Return it for putting things back: whoever asked to stop wants that too."""
        return replace(self, client=lambda step: self.client(step).with_guard(None).with_lane(Lane.UNDO))

    def seconds(self) -> float:
        """Seconds since 1970."""
        return self.clock.now().timestamp()


def raise_if_wrong(label: str, findings: list[str]) -> None:
    """
    Raise what makes something other than the snapshot says.

    Raises:
        VerificationFailed: There is something.
    """
    if findings:
        more = f" (and {len(findings) - _SHOWN} more)" if len(findings) > _SHOWN else ""
        raise VerificationFailed(f"{label} is not what the snapshot says: {'; '.join(findings[:_SHOWN])}{more}")
