"""What the data plane and its neighbours agree on: versions as the control plane has them, and the stores it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from starlette.types import Receive, Scope, Send

from clodo.errors import ClodoError, Failed

# --- versions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Module:
    """
    One part of an uploaded script.

    Attributes:
        name: As imported by other modules, and as `main_module` names it.

        content_type: The multipart part's, such as ``application/javascript+module``.

        path: Absolute path of the bytes. Content-addressed: what it holds never changes.
    """

    name: str
    content_type: str
    path: Path


@dataclass(frozen=True, slots=True)
class Assets:
    """
    Static files of a version.

    Attributes:
        files: Path in the manifest (``/index.html``) to the absolute path of its bytes.

        config: The upload's ``assets.config``: ``html_handling``, ``not_found_handling``, ``run_worker_first``,
            ``base_path``, and the texts ``_headers`` and ``_redirects``.

        binding: Name of the assets binding, None without one.
    """

    files: Mapping[str, Path]
    config: Mapping[str, Any] = field(default_factory=dict)
    binding: str | None = None


@dataclass(frozen=True, slots=True)
class DurableObjectClass:
    """
    A Durable Object class that the script's migrations have created and not deleted.

    Attributes:
        class_name: As exported by the script.

        unique_key: Never changes, also when the class is renamed; names its storage.

        sqlite: Whether `storage.sql` is there (``new_sqlite_classes``).
    """

    class_name: str
    unique_key: str
    sqlite: bool = True


@dataclass(frozen=True, slots=True)
class VersionSpec:
    """
    All that is needed to run one version of a script. Secret values are in `bindings`: never log or print one.

    Attributes:
        main_module: Name of the module with the handlers; None for a Worker of assets only.

        body_part: Name of the module that is a service-worker script; None for ES modules.

        modules: In upload order. Source maps may be among them; they are left out.

        bindings: In Cloudflare's API shape, resolved (no ``inherit``), with ``text`` of secrets.

        durable_objects: Classes of this script with storage, from its migrations. Bindings to them say
            ``{"type": "durable_object_namespace", "class_name": …, "script_name"?: …}``.

        tag, message: The version's annotations, for tails and version metadata.

        created_on: ISO 8601, for version metadata's ``timestamp``.
    """

    account_id: str
    script: str
    version_id: str
    main_module: str | None = None
    modules: tuple[Module, ...] = field(default=(), repr=False)
    compatibility_date: str = ""
    compatibility_flags: tuple[str, ...] = ()
    bindings: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    assets: Assets | None = field(default=None, repr=False)
    durable_objects: tuple[DurableObjectClass, ...] = ()
    body_part: str | None = None
    tag: str | None = None
    message: str | None = None
    created_on: str = ""

    @property
    def has_script(self) -> bool:
        """Whether there is code to run, not only assets."""
        return self.main_module is not None or self.body_part is not None

    @property
    def has_durable_objects(self) -> bool:
        """Whether all versions of this script must share one process."""
        return bool(self.durable_objects)


@dataclass(frozen=True, slots=True)
class Validated:
    """
    What starting a version once has shown.

    Attributes:
        startup_time_ms: From starting workerd to the handlers being known, less what an empty script takes.

        handlers: Of the default export: ``fetch``, ``scheduled``, ``queue``, …

        named_handlers: Other entrypoints: name to its handlers (a class's methods).

        warnings: What workerd or we had to say, such as a compatibility date that was clamped.
    """

    startup_time_ms: int
    handlers: tuple[str, ...]
    named_handlers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class ScriptInvalid(Failed):
    """workerd refuses the script; the control plane answers 400 with code 10021 and this message."""


class WorkerdUnavailable(Failed):
    """workerd itself can't be started, or a version that was valid doesn't start now."""


class EventBrokeOff(WorkerdUnavailable):
    """The process ended while it handled an event without a request."""


# --- routing ----------------------------------------------------------------------------------------------------------

Traffic: TypeAlias = tuple[tuple[str, float], ...]
"""Pairs of version id and percentage of the requests, adding up to 100."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """
    Who answers a hostname and path.

    Attributes:
        kind: ``live`` follows the deployment's percentages; ``preview`` is one version whatever is deployed;
            ``none`` is a hostname of this cloud that nothing answers (see `reason`).

        traffic: For ``preview`` one version at 100. Empty if the script has no deployment.

        reason: Why nobody answers, for the page shown: ``no_worker`` (a workers.dev name nobody has),
            ``disabled`` (workers.dev or previews switched off), ``no_route`` (a zone's host without a Worker).
    """

    account_id: str
    script: str
    kind: Literal["live", "preview", "none"]
    traffic: Traffic
    reason: Literal["", "no_worker", "disabled", "no_route"] = ""


class Directory(Protocol):
    """What is deployed, as the control plane knows it. Asked in the event loop at each request: answer from memory."""

    def resolve(self, host: str, path: str) -> Resolved | None:
        """Say who answers *path* at *host* (lower case, without port); None if *host* isn't this cloud's at all."""

    def spec(self, account_id: str, script: str, version_id: str) -> VersionSpec | None:
        """Return what is needed to run this version; None if there is no such version."""

    def live_traffic(self, account_id: str, script: str) -> Traffic | None:
        """Return the current deployment of *script*, for service bindings; None if it is not deployed or unknown."""

    def tail_consumers(self, account_id: str, script: str) -> Sequence[str]:
        """Return the names of the tail Workers that are given the events of *script*."""


# --- stores -----------------------------------------------------------------------------------------------------------

SqlValue: TypeAlias = "int | float | str | bytes | None"


class Statement(NamedTuple):
    """One piece of SQL and what its placeholders (``?``, ``?1``) stand for."""

    sql: str
    params: Sequence[SqlValue] = ()


class Answers(NamedTuple):
    """
    What a batch of statements answered.

    Attributes:
        results: One a statement, in D1's binding shape:
            ``{"success": True, "results": {"columns": [...], "rows": [[...]]}, "meta": {duration, changes, last_row_id,
            changed_db, size_after, rows_read, rows_written, served_by, ...}}``. Blobs are ``bytes``.

        bookmark: Where the database stands now; later ones are greater as strings.
    """

    results: Sequence[Mapping[str, Any]]
    bookmark: str


class StatementFailed(ClodoError):
    """SQLite refused; the message is D1's (``UNIQUE constraint failed: t.id: SQLITE_CONSTRAINT``), without D1_ERROR."""


class BindingRefused(ClodoError):
    """
    A store refuses what a Worker asked of it.

    Args:
        status: The HTTP status that the binding shows (``KV PUT failed: 413 …``).
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class DatabaseBackend(Protocol):
    """D1 databases, as Workers' bindings use them."""

    def run_at_once(self, account_id: str, database_id: str, statements: Sequence[Statement]) -> Answers | None:
        """
        Run a plain read here and now; None when it must be `run`.

        Raises:
            StatementFailed: It failed.

            BindingRefused: There is no such database.
        """

    async def run(
        self, account_id: str, database_id: str, statements: Sequence[Statement], *, bookmark: str | None = None
    ) -> Answers:
        """
        Run *statements* in one transaction: all or none.

        Args:
            bookmark: A session's: ``first-primary``, ``first-unconstrained``, or one from an earlier answer, which
                the answer must not be older than.

        Raises:
            StatementFailed: One of them failed; nothing was changed.

            BindingRefused: There is no such database.
        """


@dataclass(frozen=True, slots=True)
class StoredValue:
    """
    A KV pair's value.

    Attributes:
        metadata: Any JSON value; None without.

        expiration: Unix seconds; None for never.
    """

    value: bytes
    metadata: Any = None
    expiration: int | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A KV key in a listing."""

    name: str
    metadata: Any = None
    expiration: int | None = None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """
    One page of a KV listing, in the byte order of the keys.

    Attributes:
        cursor: Of the next page; None if this is the last.
    """

    keys: Sequence[StoredKey]
    cursor: str | None = None


class NamespaceBackend(Protocol):
    """
    KV namespaces, as Workers' bindings use them. Limits (key and value sizes, expiry) are the store's to hold.

    Raises:
        BindingRefused: From every method: no such namespace (404), key too long (414), value too large (413), ….
    """

    async def get(self, account_id: str, namespace_id: str, key: str) -> StoredValue | None:
        """Return the value of *key*; None if it has none or it has expired."""

    async def get_many(
        self, account_id: str, namespace_id: str, keys: Sequence[str]
    ) -> Mapping[str, StoredValue | None]:
        """Return the values of up to 100 keys."""

    async def put(
        self,
        account_id: str,
        namespace_id: str,
        key: str,
        value: bytes,
        *,
        metadata: Any = None,
        expiration: int | None = None,
        expiration_ttl: int | None = None,
    ) -> None:
        """Set *key*; *expiration* is in Unix seconds, *expiration_ttl* in seconds from now."""

    async def delete(self, account_id: str, namespace_id: str, key: str) -> None:
        """Remove *key*; no error if it isn't there."""

    async def list(
        self,
        account_id: str,
        namespace_id: str,
        *,
        prefix: str = "",
        limit: int = 1000,
        cursor: str | None = None,
    ) -> KeyPage:
        """Return one page of the keys that start with *prefix*."""


class BucketBackend(Protocol):
    """R2 buckets, as Workers' bindings use them; values are streamed, so it is served the whole request."""

    async def serve(
        self, account_id: str, jurisdiction: str, name: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one call of a binding to the bucket, in R2's own protocol."""


class QueueBackend(Protocol):
    """Queues, as producers use them."""

    async def send(self, account_id: str, queue_name: str, messages: Sequence[QueueMessage]) -> Backlog:
        """
        Accept *messages*, all or none, and return what the queue holds now.

        Raises:
            BindingRefused: No such queue (404), or too much for one message, one batch or the queue (413, 429).
        """


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """
    A message as its producer gave it.

    Attributes:
        content_type: ``json``, ``text``, ``bytes`` or ``v8``.

        delay_seconds: Before it may be delivered; None leaves it to the queue's settings.
    """

    body: bytes
    content_type: str
    delay_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """
    What a queue holds that nobody has acknowledged.

    Attributes:
        oldest_ms: When the oldest message was sent, in Unix milliseconds; 0 if there is none.
    """

    count: int
    bytes: int
    oldest_ms: int


class EventBackend(Protocol):
    """Analytics Engine datasets."""

    async def write(self, account_id: str, dataset: str, point: Mapping[str, Any]) -> None:
        """Keep one data point (``index1``, ``blob1``…, ``double1``…)."""


# --- observing and disturbing -----------------------------------------------------------------------------------------

TailSink: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Takes one event in the shape of wrangler tail's messages. Called on the event loop; must not block."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """
    What goes wrong with one version, on purpose.

    Attributes:
        latency_ms: Added before each request reaches the Worker.

        error_rate: Share of requests (0 to 1) answered with `error_status` instead.

        error_status: 500 unless said otherwise.

        hang: Requests are taken and never answered.

        drop: Connections are closed without an answer.
    """

    latency_ms: float = 0.0
    error_rate: float = 0.0
    error_status: int = 500
    hang: bool = False
    drop: bool = False


@dataclass(frozen=True, slots=True)
class VersionStats:
    """
    What one version has done since this runtime started.

    Attributes:
        requests: Sent to the Worker, answered or not.

        errors: Those that ended with an exception, a dropped connection or an injected error.

        responses: Count by status class, ``{"2xx": 10, …}``.

        in_flight: Requests and WebSockets open now.

        pid: Of its workerd; None when it isn't running.

        memory_bytes: Proportional set size; None when not running or not known on this system.
    """

    account_id: str
    script: str
    version_id: str
    requests: int
    errors: int
    responses: Mapping[str, int]
    in_flight: int
    pid: int | None
    memory_bytes: int | None

    @classmethod
    def of_sleeper(cls, account_id: str, script: str, version_id: str) -> VersionStats:
        """Return those of a version that nobody has asked anything yet."""
        return cls(
            account_id, script, version_id, requests=0, errors=0, responses={}, in_flight=0, pid=None, memory_bytes=None
        )
