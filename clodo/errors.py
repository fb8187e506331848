"""
Everything that can go wrong, as facts.

    ClodoError                                            exit
    ├── Refused                    declined, unsafe           4
    │   ├── PlanIsStale            the world moved since      4
    │   ├── BlockedByPolicy        rule, freeze, missing ledger  4
    │   └── SmokeTestInconclusive  an answer nobody can attribute  4
    ├── BadUsage                   words or options           2
    │   ├── BadConfiguration       file:line, what, remedy    2
    │   ├── ServicesFormACycle     needs that go in circles   2
    │   └── AmbiguousName          more than one fits         2
    ├── NotFound                                             10
    │   ├── TargetNotFound   ServiceNotFound   ReleaseNotFound
    │   ├── WorkerNotFound   VersionNotFound   NoWayBack
    │   ├── DatabaseNotFound NamespaceNotFound ZoneNotFound BucketNotFound
    │   └── SnapshotNotFound       no manifest of this id in the vault
    ├── LockHeld                   who, since when, until     11
    │   └── LockLost               ours was taken over        11
    ├── NotAuthorised              token wrong or expired     12
    │   ├── PermissionMissing      token lacks a right        12
    │   └── IdentityMissing        no key here opens a snapshot  12
    ├── TryLater                   passing trouble            75
    │   ├── RateLimited   CircuitIsOpen   BudgetExhausted
    │   └── CloudflareUnavailable  ServerUnavailable  VaultUnavailable
    ├── OutcomeUnknown             sent, but no answer        75
    ├── PartlyDone                 names what is missing       3
    ├── Interrupted                Ctrl-C, SIGTERM           130
    └── Failed                                                1
        ├── ApiRefused             Cloudflare said no: code, message
        ├── WranglerFailed   InstallFailed   BuildFailed
        ├── MigrationFailed  SmokeTestFailed VerificationFailed
        ├── ReleaseFailed          failed and undone
        ├── UndoIncomplete         failed, and not wholly undone
        ├── SnapshotDamaged        bytes, rows or manifest are not what was written
        │   └── SnapshotNotTrusted     signed by nobody we know
        ├── BackupTooOld           no good snapshot is young enough
        └── ToolchainMissing  NoSpaceLeft  PortInUse  LedgerUnavailable
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar


class ClodoError(Exception):
    """
    The root of everything that Clodo raises on purpose.

    Args:
        message: One sentence: what, where, by how much. Never a secret.

        hint: What to type or change next, when we know it.
    """

    exit_code: int = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Refused(ClodoError):
    """Clodo won't do it: declined, unsafe, or forbidden."""

    exit_code = 4


class PlanIsStale(Refused):
    """The world changed after the plan was shown."""


class BlockedByPolicy(Refused):
    """A rule of the workspace forbids it."""


class SmokeTestInconclusive(Refused):
    """An answer came, but nothing proves which version gave it."""


class BadUsage(ClodoError):
    """The words of a call are off."""

    exit_code = 2


class BadConfiguration(BadUsage):
    """A file that the user wrote says something impossible; the message opens with file:line."""


class ServicesFormACycle(BadConfiguration):
    """Services that need each other in a circle can't be put into waves."""


class AmbiguousName(BadUsage):
    """A name fits more than one thing."""


class NotFound(ClodoError):
    """It isn't there."""

    exit_code = 10


class TargetNotFound(NotFound):
    """No target of the portfolio has this name."""


class ServiceNotFound(NotFound):
    """No folder with a wrangler config has this name."""


class ReleaseNotFound(NotFound):
    """The ledger has no such release."""


class WorkerNotFound(NotFound):
    """The account has no such Worker."""


class VersionNotFound(NotFound):
    """The Worker has no such version."""


class NoWayBack(NotFound):
    """There is no earlier good version to return to."""


class DatabaseNotFound(NotFound):
    """The account has no such D1 database."""


class NamespaceNotFound(NotFound):
    """The account has no such KV namespace."""


class BucketNotFound(NotFound):
    """The account has no such R2 bucket."""


class ZoneNotFound(NotFound):
    """The token sees no such zone."""


class SnapshotNotFound(NotFound):
    """The vault has no manifest of this snapshot."""


class LockHeld(ClodoError):
    """Somebody else is at it."""

    exit_code = 11


class LockLost(LockHeld):
    """Our lock expired or was taken over; nothing more may be written."""


class NotAuthorised(ClodoError):
    """The token is wrong, expired or disabled."""

    exit_code = 12


class PermissionMissing(NotAuthorised):
    """The token is good but lacks a right; the message names it."""


class IdentityMissing(NotAuthorised):
    """No key at hand opens the snapshot."""


class TryLater(ClodoError):
    """
    Passing trouble: the same call may work in a while.

    Attributes:
        retry_after: When to try again, from now, if we know.
    """

    exit_code = 75
    retryable = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class RateLimited(TryLater):
    """Cloudflare asks us to slow down."""


class BudgetExhausted(TryLater):
    """Our own share of Cloudflare's request budget is used up for now."""


class CircuitIsOpen(TryLater):
    """A host failed so often that we stopped calling it for a while."""


class CloudflareUnavailable(TryLater):
    """Cloudflare can't be reached, or answers 5xx, and nothing was changed by the call."""


class ServerUnavailable(TryLater):
    """The Prefect server can't be reached."""


class VaultUnavailable(TryLater):
    """The place of the snapshots can't be reached, or does not take what it is given."""


class OutcomeUnknown(ClodoError):
    """A write was sent and no answer came: look before repeating it."""

    exit_code = 75


class PartlyDone(ClodoError):
    """Some of it was done; the message names what is missing."""

    exit_code = 3


class Interrupted(ClodoError):
    """A person or the system asked us to stop."""

    exit_code = 130


class Failed(ClodoError):
    """It was tried and did not work."""


class ApiRefused(Failed):
    """
    Cloudflare said no.

    Attributes:
        status: HTTP status.

        code: Cloudflare's own error number, 0 when it gave none.
    """

    def __init__(self, message: str, *, status: int = 0, code: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


class WranglerFailed(Failed):
    """
    wrangler ended with an error.

    Attributes:
        code: Cloudflare's own error number, None when it is not known.
    """

    def __init__(self, message: str, *, code: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class InstallFailed(Failed):
    """A package installation ended with an error."""


class BuildFailed(Failed):
    """A service's build command ended with an error."""


class MigrationFailed(Failed):
    """
    A migration file failed; the message says whether it is verified that none of its statements stayed.

    Attributes:
        statement: Which one failed, counted from 1; None when it is not known.

        applied: Names of the files that were applied before it, in order.

        bookmark: Time Travel's bookmark right after the last of them; None without.
    """

    def __init__(
        self,
        message: str,
        *,
        statement: int | None = None,
        applied: tuple[str, ...] = (),
        bookmark: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.statement = statement
        self.applied = applied
        self.bookmark = bookmark


class SmokeTestFailed(Failed):
    """The new version answered, and the answer is wrong."""


class VerificationFailed(Failed):
    """What is live is not what was meant."""


class ReleaseFailed(Failed):
    """
    A release failed and everything was put back, verified.

    Attributes:
        exit_code: The cause's, so that a refusal stays a refusal and an interruption an interruption.

        release_id: Which one.
    """

    def __init__(
        self,
        message: str,
        *,
        release_id: str | None = None,
        cause: BaseException | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.release_id = release_id
        if isinstance(cause, ClodoError):
            self.exit_code = cause.exit_code
        elif isinstance(cause, KeyboardInterrupt):
            self.exit_code = Interrupted.exit_code


class UndoIncomplete(Failed):
    """
    A release failed and something could not be put back; the message says what.

    Attributes:
        release_id: Which one.
    """

    def __init__(self, message: str, *, release_id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.release_id = release_id


class SnapshotDamaged(Failed):
    """A snapshot is not what was written; the message says which part of it."""


class SnapshotNotTrusted(SnapshotDamaged):
    """A manifest is not signed, or by a key that nobody here trusts."""


class BackupTooOld(Failed):
    """The newest good snapshot is older than it may be."""


class ToolchainMissing(Failed):
    """Node, wrangler or workerd is not installed and can't be fetched."""


class NoSpaceLeft(Failed):
    """The disk is full."""


class PortInUse(Failed):
    """Another process listens on the port."""


class LedgerUnavailable(Failed):
    """The ledger can't be opened or written."""
