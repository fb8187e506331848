"""
Installs packages and runs builds, once for the same content, however many targets ask at the same time.

Next door: `build_commands` reads what a command would do, `packages` knows npm workspaces.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from clodo.errors import BadConfiguration, BuildFailed, ClodoError, Failed, InstallFailed, NoSpaceLeft
from clodo.workspace import packages
from clodo.workspace.build_commands import calls_wrangler, deploying_command
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.file_digests import FileDigests
from clodo.workspace.hashing import reaches_out
from clodo.workspace.inputs import Inputs
from clodo.workspace.packages import NPM_LOCKS, OTHER_LOCKS, Package
from clodo.workspace.portfolio import Portfolio
from clodo.workspace.source_tree import IgnoreRules

TAIL_LINES = 20
INSTALL_TIMEOUT = timedelta(minutes=15)
BUILD_TIMEOUT = timedelta(minutes=15)
# npm's own list of what it installed.
_INSTALLED = Path("node_modules", ".package-lock.json")
_NPM_CI = ("ci", "--no-audit", "--no-fund")
_NO_SPACE = re.compile(r"\bENOSPC\b|no space left on device", re.IGNORECASE)
_NO_NETWORK = re.compile(r"\b(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED)\b")
# What a build may see: nothing that holds a credential of Cloudflare's or ours, nothing that changes Node.
_KEPT_VARIABLES = frozenset(
    {
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PATH",
        "TMPDIR",
        "LANG",
        "LANGUAGE",
        "TZ",
        "SSH_AUTH_SOCK",
        "NODE_EXTRA_CA_CERTS",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NODE_AUTH_TOKEN",
        "NPM_TOKEN",
    }
)
_KEPT_PREFIXES = ("LC_", "NPM_CONFIG_", "XDG_")
_KEPT_WHATEVER_CASE = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"})


class NodeTools(Protocol):
    """Where node and npm are; `clodo.wrangler.toolchain.Toolchain` is one."""

    @property
    def node(self) -> Path:
        """The real binary."""
        ...

    @property
    def npm(self) -> Path:
        """Npm's ``npm-cli.js``, to be run with *node*."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """
    One command before an upload.

    Attributes:
        kind: ``install`` or ``build``.

        folder: Where it runs; absolute.

        command: Shell text, as declared; or ``npm ci``, ``npm run build``.

        is_declared: The user wrote it; otherwise Clodo found that it is needed.

        place: ``file:line`` of what asks for it.
    """

    kind: Literal["install", "build"]
    folder: Path
    command: str
    is_declared: bool
    place: str


@dataclass(frozen=True, slots=True)
class Done:
    """A step that is done: run now, or found done for the same content (*was_cached*)."""

    step: Step
    was_cached: bool
    duration: timedelta = timedelta()


def plan_steps(effective: EffectiveConfig, portfolio: Portfolio, *, root: Path) -> tuple[Step, ...]:
    """
    Return what must run before *effective* can be uploaded, in order; empty when nothing must.

    Installs come first, then builds, each package after those it needs. Reads files, runs nothing.

    Raises:
        BadConfiguration: A build would deploy; packages are locked by another tool than npm, or not at all; a
            ``package.json`` is broken.
    """
    service = effective.service
    settings = portfolio.settings_of(service)
    top = packages.top_of(root)
    package = packages.package_around(effective.folder, root)
    steps: list[Step] = []
    if isinstance(settings.install, str):
        place = portfolio.place_of("services", service, "install")
        steps.append(Step("install", effective.folder, settings.install, True, place))
    elif settings.install is None and package is not None:
        steps += _detected_install(package, effective, top)
    if settings.build is False:
        return tuple(steps)
    scripts = package.scripts if package is not None else {}
    if package is not None:
        steps += _builds_of_others(package, top)
    if isinstance(settings.build, str):
        place = portfolio.place_of("services", service, "build")
        steps.append(Step("build", effective.folder, settings.build, True, place))
    elif effective.build is not None:
        steps.append(Step("build", effective.build.folder, effective.build.command, True, effective.build.place))
    elif package is not None and package.folder == effective.folder:
        steps += _detected_build(package, effective)
    for step in steps:
        if step.kind == "build" and step.is_declared:
            _raise_if_it_deploys(step, scripts)
    return tuple(steps)


class Builder:
    """
    Runs steps, each once for the same content.

    Two targets, threads or processes that ask for the same step wait for one another; the second finds it done.

    Args:
        state_dir: The workspace's ``.clodo``.

        root: The workspace's root.

        tools: Node and npm.

        environment: The process's own variables; only the harmless ones are passed on.

        digests: Remembered digests of files.

        log: Takes each line of a tool's output.

        install_timeout: After which an install is ended with all its processes.

        build_timeout: The same for a build.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        root: Path,
        tools: NodeTools,
        environment: Mapping[str, str],
        digests: FileDigests,
        log: Callable[[str], None],
        install_timeout: timedelta = INSTALL_TIMEOUT,
        build_timeout: timedelta = BUILD_TIMEOUT,
    ) -> None:
        self._folder = state_dir / "builds"
        self._root = root
        self._tools = tools
        self._base_environment = environment
        self._digests = digests
        self._log = log
        self._installed: dict[Path, tuple[tuple[int, ...], ...]] = {}
        self._timeouts = {"install": install_timeout, "build": build_timeout}

    def prepare(self, effective: EffectiveConfig, steps: Sequence[Step]) -> tuple[Done, ...]:
        """
        Run those of *steps* whose content changed since they last ran, in order.

        Raises:
            InstallFailed: With the tool's last 20 lines.

            BuildFailed: The same.

            NoSpaceLeft: The disk is full.
        """
        done = tuple(self._run_once(effective, step) for step in steps)
        self._digests.save()
        return done

    def _run_once(self, effective: EffectiveConfig, step: Step) -> Done:
        name = hashlib.sha256(f"{step.kind}\0{step.folder}\0{step.command}".encode()).hexdigest()[:32]
        marker = self._folder / f"{name}.json"
        with self._alone(step.folder):
            if self._is_done(marker, effective, step):
                return Done(step, was_cached=True)
            marker.unlink(missing_ok=True)
            duration = self._run(step)
            # What it is worth is hashed afterwards: a build may write into the folder it was built from.
            _write(marker, {"key": self._key(effective, step), "command": step.command, "folder": str(step.folder)})
            return Done(step, was_cached=False, duration=duration)

    def _is_done(self, marker: Path, effective: EffectiveConfig, step: Step) -> bool:
        if step.kind == "install" and not step.is_declared and self._is_installed(step.folder):
            return True
        if step.is_declared and reaches_out(step.command):
            # It reads or writes where we don't look, so it can't be known to be done.
            return False
        try:
            known = json.loads(marker.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return False
        return isinstance(known, dict) and known.get("key") == self._key(effective, step)

    def _is_installed(self, folder: Path) -> bool:
        # Lock files are long, and in a workspace every service asks: look again only when one of the files is another.
        stamps = tuple(_stamp(folder / name) for name in (*NPM_LOCKS, packages.FILE_NAME, _INSTALLED))
        if self._installed.get(folder) != stamps:
            if not _is_installed(folder):
                return False
            self._installed[folder] = stamps
        return True

    def _key(self, effective: EffectiveConfig, step: Step) -> str:
        parts = [step.kind, step.command, str(self._tools.node)]
        if step.kind == "install":
            top = packages.top_of(self._root)
            package = packages.package_around(step.folder, top)
            folder = package.folder if package is not None else step.folder
            parts += _install_facts(folder, packages.members_of(package) if package else (), self._digests)
        elif step.folder == effective.folder or step.is_declared:
            parts.append(self._service_inputs(effective).digest())
        else:
            parts.append(Inputs(step.folder, root=self._root, digests=self._digests).digest())
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _service_inputs(self, effective: EffectiveConfig) -> Inputs:
        # Of every environment, since one build serves them all.
        return Inputs.of_service(effective, root=self._root, digests=self._digests, every_environment=True)

    def _run(self, step: Step) -> timedelta:
        if step.kind == "install" and not step.is_declared:
            command: Sequence[str] = (str(self._tools.node), str(self._tools.npm), *_NPM_CI)
        else:
            command = ("/bin/sh", "-c", step.command)
        self._log(f"{step.folder}: {step.command}")
        started = time.monotonic()
        status, tail = run_tool(
            command,
            folder=step.folder,
            environment=tool_environment(self._base_environment, self._shims()),
            timeout=self._timeouts[step.kind],
            log=self._log,
        )
        duration = timedelta(seconds=time.monotonic() - started)
        if status != 0:
            raise _failure(step, status, tail, self._timeouts[step.kind])
        return duration

    def _shims(self) -> Path:
        """Return a folder where ``node``, ``npm`` and ``npx`` are the toolchain's."""
        folder = self._folder / "bin"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        node, npm = self._tools.node, self._tools.npm
        texts = {
            "node": f'#!/bin/sh\nexec {_quoted(node)} "$@"\n',
            "npm": f'#!/bin/sh\nexec {_quoted(node)} {_quoted(npm)} "$@"\n',
            "npx": f'#!/bin/sh\nexec {_quoted(node)} {_quoted(npm.with_name("npx-cli.js"))} "$@"\n',
        }
        for name, text in texts.items():
            file = folder / name
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                fresh = folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
                fresh.write_text(text, encoding="utf-8")
                fresh.chmod(0o700)
                fresh.replace(file)
        return folder

    @contextlib.contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Hold the folder's lock, against other threads (each opens the file anew) and processes alike."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = hashlib.sha256(str(folder).encode()).hexdigest()[:32]
            descriptor = os.open(self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _file_trouble(self._folder, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def tool_environment(base: Mapping[str, str], shims: Path) -> dict[str, str]:
    """
    Return what a build may see of *base*: where things are, the language, proxies, and npm's own settings.

    Credentials of Cloudflare, Clodo and Prefect stay out, and so does what changes Node from outside.
    """
    kept = {
        name: value
        for name, value in base.items()
        if name in _KEPT_VARIABLES or name.upper().startswith(_KEPT_PREFIXES) or name.upper() in _KEPT_WHATEVER_CASE
    }
    kept["PATH"] = os.pathsep.join([str(shims), kept.get("PATH") or os.defpath])
    kept["CI"] = "true"
    kept["NO_COLOR"] = "1"
    kept["npm_config_update_notifier"] = "false"
    return kept


def run_tool(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout: timedelta,
    log: Callable[[str], None],
) -> tuple[int | None, tuple[str, ...]]:
    """
    Run a tool to its end and return its exit status and last 20 lines of output.

    The status is None when it took longer than *timeout*; it and all it started are then ended.

    Raises:
        Failed: It can't be started.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    try:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Its own group, so that a timeout or Ctrl-C ends what it started too.
            start_new_session=True,
        )
    except OSError as error:
        raise Failed(f"{command[0]} can't be started in {folder} ({error.strerror})") from error
    timed_out = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                tail.append(line.rstrip())
                log(line.rstrip())

    def give_up() -> None:
        timed_out.set()
        _end_group(process)

    reader = threading.Thread(target=read, name=f"output of {command[0]}", daemon=True)
    alarm = threading.Timer(timeout.total_seconds(), give_up)
    alarm.daemon = True
    reader.start()
    alarm.start()
    try:
        # Not reaped yet, so that its number still means its group when the group is ended.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    finally:
        alarm.cancel()
        # Also what it left running in the background, which would hold its output open.
        _end_group(process)
        status = process.wait()
        reader.join()
    return (None if timed_out.is_set() else status), tuple(tail)


def _end_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _detected_install(package: Package, effective: EffectiveConfig, top: Path) -> Iterator[Step]:
    owner = packages.workspace_around(package.folder, top) or package
    if not owner.dependencies and not owner.workspaces:
        return
    hint = f'Declare it: install = "…" under [services.{effective.service}] in portfolio.toml.'
    if any((owner.folder / name).is_file() for name in NPM_LOCKS):
        yield Step("install", owner.folder, "npm ci", False, owner.place_of())
        return
    for name, tool in OTHER_LOCKS.items():
        if (owner.folder / name).is_file():
            raise BadConfiguration(
                f"{owner.folder / name}:1: the packages are locked by {tool}, which Clodo does not bring along",
                hint=hint,
            )
    if not (owner.folder / "node_modules").is_dir():
        raise BadConfiguration(
            f"{owner.place_of('dependencies')}: no lock file says which versions to install",
            hint="Run `npm install` once and commit package-lock.json. " + hint,
        )


def _builds_of_others(package: Package, top: Path) -> Iterator[Step]:
    """Yield the builds of the user's own packages that *package* needs."""
    for needed in packages.in_order_of_need(package, top)[:-1]:
        command = needed.scripts.get("build")
        if command is not None and not calls_wrangler(command, needed.scripts):
            yield Step("build", needed.folder, "npm run build", False, needed.place_of("scripts", "build"))


def _detected_build(package: Package, effective: EffectiveConfig) -> Iterator[Step]:
    """Yield the package's own build, when what the config uploads is not among the sources."""
    command = package.scripts.get("build")
    if command is None or calls_wrangler(command, package.scripts):
        return
    outputs = [path for path in (effective.main, effective.assets and effective.assets.directory) if path]
    rules = IgnoreRules(package.folder)
    if any(not path.exists() or _is_ignored(path, rules, package.folder) for path in outputs):
        yield Step("build", package.folder, "npm run build", False, package.place_of("scripts", "build"))


def _is_ignored(path: Path, rules: IgnoreRules, folder: Path) -> bool:
    if not path.is_relative_to(folder):
        return False
    steps = [path, *(parent for parent in path.parents if parent != folder and parent.is_relative_to(folder))]
    return any(rules.ignores(step, is_folder=step.is_dir()) for step in steps)


def _raise_if_it_deploys(step: Step, scripts: Mapping[str, str]) -> None:
    chain = deploying_command(step.command, scripts)
    if chain is not None:
        shown = " → ".join(f"`{command}`" for command in chain)
        raise BadConfiguration(
            f"{step.place}: the build command would deploy by itself: {shown}",
            hint="A build only makes files; wrangler runs the build, so a build that runs wrangler would never end.",
        )


def _is_installed(folder: Path) -> bool:
    """Whether ``node_modules`` holds what the lock file says, by the list npm keeps in it."""
    try:
        installed = json.loads((folder / _INSTALLED).read_text(encoding="utf-8"))
        lock = next(folder / name for name in NPM_LOCKS if (folder / name).is_file())
        wanted = json.loads(lock.read_text(encoding="utf-8"))
        return _holds(folder, installed["packages"], wanted["packages"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        # Not there or not as npm writes it: install, and npm says what is wrong.
        return False


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except FileNotFoundError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _holds(folder: Path, installed: dict[str, Any], wanted: dict[str, Any]) -> bool:
    for path, entry in wanted.items():
        if "node_modules" not in path.split("/"):
            # The root or a member: the lock must be of this package.json.
            package = json.loads((folder / path / packages.FILE_NAME).read_text(encoding="utf-8"))
            if any((package.get(kind) or {}) != (entry.get(kind) or {}) for kind in packages.DEPENDENCIES):
                return False
            continue
        found = installed.get(path)
        if found is None:
            # npm leaves out what is for other machines.
            if entry.get("optional") or entry.get("devOptional") or entry.get("peer"):
                continue
            return False
        if any(found.get(key) != entry.get(key) for key in ("version", "resolved", "integrity")):
            return False
        if not (folder / path).exists():
            return False
    return all(path in wanted for path in installed)


def _install_facts(folder: Path, members: Sequence[Package], digests: FileDigests) -> list[str]:
    facts: list[str] = []
    for name in (*NPM_LOCKS, *OTHER_LOCKS, ".npmrc"):
        facts += _fact(folder / name, digests)
    for owner in (folder, *(member.folder for member in members)):
        facts += _fact(owner / packages.FILE_NAME, digests)
    # Deleted or changed by another tool since: npm rewrites this file with every install.
    facts += _fact(folder / _INSTALLED, digests)
    return facts


def _fact(file: Path, digests: FileDigests) -> list[str]:
    try:
        return [f"{file.name}:{digests.facts_of(file).digest}"]
    except FileNotFoundError:
        return [f"{file.name}:none"]


def _failure(step: Step, status: int | None, tail: Sequence[str], timeout: timedelta) -> ClodoError:
    output = "\n".join(tail)
    ended = f"took longer than {timeout.total_seconds():.0f} s" if status is None else f"ended with status {status}"
    if status is not None and status < 0:
        ended = f"was ended by signal {-status}"
    message = f"{step.folder}: `{step.command}` {ended}" + (f"; its last lines:\n{output}" if output else "")
    if _NO_SPACE.search(output):
        return NoSpaceLeft(f"{step.folder}: no space left on the disk for `{step.command}`")
    if step.kind == "install":
        hint = "Check the network and the registry in .npmrc." if _NO_NETWORK.search(output) else None
        return InstallFailed(message, hint=hint)
    return BuildFailed(message, hint=f"Run `{step.command}` in {step.folder} to see all of it.")


def _file_trouble(path: Path, error: OSError) -> ClodoError:
    if error.errno == errno.ENOSPC:
        return NoSpaceLeft(f"{path}: no space left on the disk")
    return Failed(f"{path}: can't be written ({error.strerror})")


def _write(file: Path, value: Mapping[str, Any]) -> None:
    fresh = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        fresh.write_text(json.dumps(value), encoding="utf-8")
        fresh.replace(file)
    except OSError as error:
        raise _file_trouble(file, error) from error


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
