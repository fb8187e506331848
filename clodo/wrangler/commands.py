"""wrangler's commands as typed calls: one process each, which sees Cloudflare only through the gateway."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from clodo.cloudflare.budget import Lane
from clodo.errors import (
    BadUsage,
    NoSpaceLeft,
    OutcomeUnknown,
    PartlyDone,
    ToolchainMissing,
    WranglerFailed,
)
from clodo.wrangler.environment import NODE_FLAGS, output_file, wrangler_environment
from clodo.wrangler.failures import error_from
from clodo.wrangler.forwarding import Call, Guard, Stored
from clodo.wrangler.gateway import Gateway, GatewaySession
from clodo.wrangler.output import Masker, plain, read_records
from clodo.wrangler.process import SPAWNER, Child, Spawner
from clodo.wrangler.slots import Slots
from clodo.wrangler.toolchain import Toolchain
from clodo.wrangler.uploads import Stamp, Upload

Log = Callable[[str], None]
DEFAULT_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """
    A version that Cloudflare has stored, as its own answer says.

    Attributes:
        version_id: UUID.

        tag: What the version carries: ``<release id>.<content_sha256>``.

        content_sha256: Hash of what will run; see `Upload.content_sha256`.

        has_preview: Whether the version has a preview URL; None for a first deploy, whose answer doesn't say.

        startup_time_ms: What Cloudflare measured, None if it didn't say.

        was_found: An attempt had an unknown outcome, and looking showed that it had been stored.

        requests: How many were sent to Cloudflare.

        seconds: The whole call, waiting for a slot included.
    """

    version_id: str
    tag: str
    content_sha256: str
    has_preview: bool | None
    startup_time_ms: int | None
    was_found: bool
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Completed:
    """
    A wrangler call that ended well.

    Attributes:
        stdout: Without terminal escapes and secrets.

        stderr: The same.

        records: wrangler's ND-JSON, the ``wrangler-session`` line first.

        calls: What was sent to Cloudflare, in the order of the answers.
    """

    stdout: str
    stderr: str
    records: tuple[Mapping[str, Any], ...]
    calls: tuple[Call, ...]
    seconds: float


class Wrangler:
    """
    The pinned wrangler, talking through *gateway*.

    Args:
        toolchain: From `clodo.wrangler.toolchain.install`.

        gateway: Entered, and left after the last call.

        scratch: A folder for what a call leaves behind while it runs; each has its own inside, removed at its end.

        log: Gets each line that wrangler prints, but blank ones; escapes and secrets taken out, from threads of ours.

        slots: Caps how many run at once; one a core on this machine by default.
    """

    def __init__(
        self,
        toolchain: Toolchain,
        gateway: Gateway,
        *,
        scratch: Path,
        log: Log | None = None,
        slots: Slots | None = None,
        spawner: Spawner = SPAWNER,
    ) -> None:
        self._toolchain = toolchain
        self._gateway = gateway
        self._scratch = scratch
        self._log = log or (lambda line: None)
        self._slots = slots or Slots(toolchain.cache_dir / "slots")
        self._spawner = spawner

    def upload_version(
        self,
        config: Path,
        *,
        worker: str,
        account_id: str,
        stamp: Stamp,
        secrets: Mapping[str, str] | None = None,
        guard: Guard | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        lane: Lane = Lane.RELEASE,
    ) -> Uploaded:
        """
        Upload a version of a Worker that exists; it gets no traffic.

        Args:
            config: The rendered wrangler config of the target, without environments, build step and triggers. Where it
                lies matters: wrangler writes the sources' paths, relative to the config's folder, into the bundle, so
                the content's hash is the same on every machine only if it lies at the same place beside them.

            worker: The Worker's name; anything else that the config would upload is refused.

            stamp: The release's mark, and whose secrets to keep.

            secrets: Name to value, uploaded with the code; never on disk, never among the arguments.

            guard: Called before each write, in a thread of ours; what it raises is raised here, and nothing is written.

            timeout: For the whole call, waiting for a slot included.

        Raises:
            WorkerNotFound: It doesn't exist yet: `deploy_first`.

            ApiRefused: Cloudflare refused the upload; *code* says why (10021: the script is invalid).

            WranglerFailed: The config or the code is broken; nothing was sent.

            OutcomeUnknown: Nobody knows whether a version was stored.

            CloudflareUnavailable, RateLimited, BudgetExhausted: Nothing was stored; try later.
        """
        upload = _Call(
            ("versions", "upload"),
            account_id,
            timeout,
            lane,
            config=config,
            worker=worker,
            stamp=stamp,
            guard=guard,
            secrets=secrets or {},
        )
        started = time.monotonic()
        with self._run(upload) as (session, ended):
            if session.stored is None:
                raise self._error(upload, session, ended)
            # The version is stored whatever came after it: wrangler only goes on to ask for the preview's address.
            return _uploaded(session.stored, session, started)

    def deploy_first(
        self,
        config: Path,
        *,
        worker: str,
        account_id: str,
        stamp: Stamp,
        secrets: Mapping[str, str] | None = None,
        guard: Guard | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        lane: Lane = Lane.RELEASE,
    ) -> Uploaded:
        """
        Create a Worker with its first version, live at once; its triggers are what *config* says (none, for a release).

        Arguments are those of `upload_version`.

        Raises:
            PlanIsStale: There is such a Worker by now; it was left alone.

            PartlyDone: The version is live, but something after it failed; the message says what.

            ApiRefused, WranglerFailed, OutcomeUnknown, CloudflareUnavailable, RateLimited, BudgetExhausted: As in
                `upload_version`.
        """
        deploy = _Call(
            ("deploy",),
            account_id,
            timeout,
            lane,
            config=config,
            worker=worker,
            stamp=stamp,
            guard=guard,
            secrets=secrets or {},
        )
        started = time.monotonic()
        with self._run(deploy) as (session, ended):
            if session.stored is None:
                raise self._error(deploy, session, ended)
            if ended.status != 0:
                raise PartlyDone(
                    f"{worker}: version {session.stored.version_id} is live, but what comes after it is not done:"
                    f" {self._error(deploy, session, ended)}",
                    hint="Undo the release, or set the rest by hand.",
                ) from session.failure
            return _uploaded(session.stored, session, started)

    def compare(
        self,
        config: Path,
        *,
        worker: str,
        account_id: str,
        exists: bool = True,
        timeout: timedelta = DEFAULT_TIMEOUT,
        lane: Lane = Lane.READ,
    ) -> Upload:
        """
        Return what would be uploaded; nothing is written, no write even leaves this machine.

        Args:
            exists: False for a Worker that would be created.

        Raises:
            WorkerNotFound: It doesn't exist, and *exists* said so.

            WranglerFailed: The config or the code is broken.
        """
        words = ("versions", "upload") if exists else ("deploy",)
        comparison = _Call(words, account_id, timeout, lane, config=config, worker=worker, compare=True)
        with self._run(comparison) as (session, ended):
            if session.compared is None:
                raise self._error(comparison, session, ended)
            return session.compared

    def run(
        self,
        args: Sequence[str],
        *,
        account_id: str,
        secrets: Mapping[str, str] | None = None,
        stdin: str | None = None,
        guard: Guard | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        lane: Lane = Lane.RELEASE,
    ) -> Completed:
        """
        Run any other wrangler command to its end.

        Args:
            args: After ``wrangler``; may be seen by every user of this machine, so never a secret.

            secrets: Values to take out of all output.

            stdin: What wrangler reads; taken out of all output as a secret is.

        Raises:
            BadUsage: The command would read a value from a standard input that isn't given.

            ClodoError: Why wrangler failed, with Cloudflare's code when there is one.
        """
        if not args:
            raise BadUsage("wrangler: no command")
        takes_value = tuple(args[:2]) == ("secret", "put") or tuple(args[:3]) == ("versions", "secret", "put")
        if takes_value and not stdin:
            # wrangler would store an empty secret and say it went well.
            raise BadUsage("wrangler secret put: the value must be given on standard input")
        call = _Call(tuple(args), account_id, timeout, lane, guard=guard, secrets=secrets or {}, stdin=stdin)
        started = time.monotonic()
        with self._run(call) as (session, ended):
            if ended.status != 0:
                raise self._error(call, session, ended)
            seconds = time.monotonic() - started
            return Completed("\n".join(ended.stdout), "\n".join(ended.stderr), ended.records, session.calls, seconds)

    @contextmanager
    def _run(self, call: _Call) -> Iterator[tuple[GatewaySession, _Ended]]:
        """Run wrangler to its end or its timeout, and clear up after it."""
        deadline = time.monotonic() + call.timeout.total_seconds()
        folder = self._scratch / f"wrangler-{uuid.uuid4().hex[:12]}"
        with ExitStack() as stack:
            stack.enter_context(self._slots.take(call.timeout.total_seconds()))
            masker = Masker([self._gateway.token, *call.hidden])
            session = stack.enter_context(
                self._gateway.session(
                    stamp=call.stamp,
                    worker=call.worker,
                    guard=call.guard,
                    lane=call.lane,
                    compare=call.compare,
                    must_be_first=call.words == ("deploy",) and not call.compare,
                    mask=masker.mask,
                )
            )
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            try:
                ended = self._run_child(call, session, masker.also(session.token), folder, deadline)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise NoSpaceLeft(
                        f"no space left in {self._scratch}", hint="Free some space and try again."
                    ) from error
                if isinstance(error, FileNotFoundError):
                    raise ToolchainMissing(
                        f"can't start wrangler: {error}", hint="Install the toolchain again."
                    ) from error
                raise WranglerFailed(f"can't start wrangler: {error}") from error
            yield session, ended

    def _run_child(self, call: _Call, session: GatewaySession, masker: Masker, folder: Path, deadline: float) -> _Ended:
        folder.mkdir(parents=True, mode=0o700)
        stdout: list[str] = []
        stderr: list[str] = []

        def into(lines: list[str]) -> Log:
            def read(line: str) -> None:
                line = masker.mask(plain(line))
                lines.append(line)
                # Once compared, wrangler only complains that it was refused. A fifth of its lines are blank.
                if session.compared is None and line.strip():
                    self._log(line)

            return read

        environment = wrangler_environment(
            self._toolchain,
            folder=folder,
            base_url=session.base_url,
            token=session.token,
            account_id=call.account_id,
            now=time.time,
        )
        with ExitStack() as stack:
            ours = stack.enter_context(ExitStack())
            stdin = _pipe(call.stdin, ours).fileno() if call.stdin is not None else None
            secrets = _pipe(json.dumps(dict(call.secrets)), ours).fileno() if call.has_secrets_file else None
            child = stack.enter_context(
                Child(
                    [self._toolchain.node, *NODE_FLAGS, self._toolchain.wrangler, *call.arguments(secrets)],
                    cwd=folder if call.config is None else call.config.parent,
                    env=environment,
                    stdin=stdin,
                    pass_fds=() if secrets is None else (secrets,),
                    on_stdout=into(stdout),
                    on_stderr=into(stderr),
                    spawner=self._spawner,
                )
            )
            # The child has its own ends of the pipes now.
            ours.close()
            status = child.wait(max(0.0, deadline - time.monotonic()))
            if status is None:
                # Nothing more may go out from here on, whatever wrangler still does before it is dead.
                session.close()
        return _Ended(status, tuple(stdout), tuple(stderr), read_records(output_file(folder)))

    def _error(self, call: _Call, session: GatewaySession, ended: _Ended) -> BaseException:
        if session.failure is not None:
            return session.failure
        if ended.status is None:
            stopped = f"{call.title}: did not end within {call.timeout.total_seconds():.0f} s and was stopped"
            if session.has_sent_write:
                return OutcomeUnknown(stopped, hint="Look what was done before repeating it.")
            return WranglerFailed(f"{stopped}; nothing was changed")
        if ended.status < 0:
            return WranglerFailed(f"{call.title}: wrangler was killed by signal {-ended.status}")
        return error_from(call.title, session.calls, ended.records, ended.stderr)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call as it is asked for."""

    words: tuple[str, ...]
    account_id: str
    timeout: timedelta
    lane: Lane
    config: Path | None = None
    worker: str | None = None
    stamp: Stamp | None = None
    guard: Guard | None = None
    compare: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: str | None = field(default=None, repr=False)

    @property
    def title(self) -> str:
        """The command in words that hold no argument's value."""
        return " ".join(("wrangler", *itertools.takewhile(lambda word: not word.startswith("-"), self.words[:2])))

    @property
    def has_secrets_file(self) -> bool:
        return self.config is not None and bool(self.secrets)

    @property
    def hidden(self) -> tuple[str, ...]:
        return (*self.secrets.values(), *([self.stdin] if self.stdin else []))

    def arguments(self, secrets_file: int | None) -> list[str]:
        # A project's own .env would otherwise be loaded, and may hold other credentials.
        no_env_file = f"--env-file={os.devnull}"
        if self.config is None:
            return [*self.words, no_env_file]
        arguments = [*self.words, no_env_file, f"--config={self.config}", "--env=", f"--name={self.worker}"]
        # Nothing is created behind our back: bindings without an id are an error.
        arguments.append("--no-x-provision")
        if self.words[0] == "deploy":
            arguments.append("--autoconfig=false")
        if secrets_file is not None:
            arguments.append(f"--secrets-file=/dev/fd/{secrets_file}")
        return arguments


@dataclass(frozen=True, slots=True)
class _Ended:
    """What is left of a process: *status* is None if it had to be stopped, negative if a signal killed it."""

    status: int | None
    stdout: tuple[str, ...]
    stderr: tuple[str, ...]
    records: tuple[Mapping[str, Any], ...]


def _uploaded(stored: Stored, session: GatewaySession, started: float) -> Uploaded:
    return Uploaded(
        version_id=stored.version_id,
        tag=stored.tag,
        content_sha256=stored.content_sha256,
        has_preview=stored.has_preview,
        startup_time_ms=stored.startup_time_ms,
        was_found=stored.was_found,
        requests=len(session.calls),
        seconds=time.monotonic() - started,
    )


def _pipe(text: str, stack: ExitStack) -> BinaryIO:
    """Return the reading end of a pipe that gives *text* and then ends; nothing of it touches a disk."""
    reading, writing = os.pipe()

    def write() -> None:
        # wrangler may end without having read it.
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as end:
            end.write(text.encode())

    end = stack.enter_context(os.fdopen(reading, "rb"))
    threading.Thread(target=write, name="clodo-secrets", daemon=True).start()
    return end
