"""Installs and builds: what is planned, that it runs once, and what a failure says."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clodo.errors import BadConfiguration, BuildFailed, Failed, InstallFailed, NoSpaceLeft
from clodo.workspace.builds import Builder, Done, Step, plan_steps, tool_environment
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.file_digests import FileDigests
from clodo.workspace.portfolio import Portfolio
from clodo.workspace.wrangler_config import WranglerConfig
from tests.workspace.folders import write

WRANGLER = 'name = "api"\nmain = "src/index.ts"\ncompatibility_date = "2026-01-01"\n'


def service(root: Path, files: dict[str, Any], config: str = WRANGLER) -> EffectiveConfig:
    write(root, {"services/api/wrangler.toml": config, "services/api/src/index.ts": "export default {};", **files})
    return WranglerConfig.read(root / "services/api/wrangler.toml").for_environment(None)


def planned(root: Path, effective: EffectiveConfig, portfolio: str = "") -> list[tuple[str, str, str]]:
    write(root, {"portfolio.toml": portfolio})
    steps = plan_steps(effective, Portfolio.read(root / "portfolio.toml"), root=root)
    return [(step.kind, step.folder.relative_to(root).as_posix(), step.command) for step in steps]


@dataclass
class Tools:
    """Node and npm that no step of the test calls."""

    node: Path = Path("/nonexistent/node")
    npm: Path = Path("/nonexistent/npm-cli.js")


@dataclass
class Workshop:
    """A builder over a folder, with what it logged."""

    root: Path
    tools: Any = field(default_factory=Tools)
    lines: list[str] = field(default_factory=list)

    def builder(self, **options: Any) -> Builder:
        return Builder(
            self.root / ".clodo",
            root=self.root,
            tools=self.tools,
            environment={"PATH": os.defpath, "HOME": str(self.root), "CLOUDFLARE_API_TOKEN": "hush"},
            digests=FileDigests(self.root / ".clodo-digests"),
            log=self.lines.append,
            **options,
        )

    def build(self, effective: EffectiveConfig, command: str, **options: Any) -> Done:
        step = Step("build", effective.folder, command, True, "portfolio.toml:1")
        (done,) = self.builder(**options).prepare(effective, [step])
        return done


# -- what is planned


def test_a_service_without_packages_needs_nothing(tmp_path: Path):
    """No package.json, no build: no steps."""
    assert planned(tmp_path, service(tmp_path, {})) == []


def test_locked_packages_are_installed_by_npm_ci(tmp_path: Path):
    """A package.json with dependencies and npm's lock is installed where it stands."""
    effective = service(
        tmp_path,
        {"services/api/package.json": {"dependencies": {"a": "1"}}, "services/api/package-lock.json": "{}"},
    )

    assert planned(tmp_path, effective) == [("install", "services/api", "npm ci")]


def test_npm_workspaces_are_installed_at_their_root_and_built_in_order(tmp_path: Path):
    """One install at the root; the packages the service needs are built first, those of packages before them."""
    effective = service(
        tmp_path,
        {
            "package.json": {"workspaces": ["packages/*", "services/*", "!packages/private"]},
            "package-lock.json": "{}",
            "packages/ui/package.json": {
                "name": "ui", "dependencies": {"core": "*"}, "scripts": {"build": "make ui"},
            },
            "packages/core/package.json": {"name": "core", "scripts": {"build": "make core"}},
            "packages/other/package.json": {"name": "other", "scripts": {"build": "make other"}},
            "packages/private/package.json": {"name": "private", "scripts": {"build": "make private"}},
            "services/api/package.json": {
                "name": "api", "dependencies": {"ui": "*", "private": "*"}, "scripts": {"build": "make api"},
            },
        },
    )  # fmt: skip

    assert planned(tmp_path, effective) == [
        ("install", ".", "npm ci"),
        ("build", "packages/core", "npm run build"),
        ("build", "packages/ui", "npm run build"),
    ]


def test_packages_in_a_circle_are_named(tmp_path: Path):
    """Packages that need each other in a circle can't be put in order, and the circle is told."""
    effective = service(
        tmp_path,
        {
            "package.json": {"workspaces": ["packages/*", "services/*"]},
            "package-lock.json": "{}",
            "packages/a/package.json": {"name": "a", "dependencies": {"b": "*"}},
            "packages/b/package.json": {"name": "b", "dependencies": {"a": "*"}},
            "services/api/package.json": {"name": "api", "dependencies": {"a": "*"}},
        },
    )

    with pytest.raises(BadConfiguration, match="in a circle: a → b → a"):
        planned(tmp_path, effective)


def test_the_wrangler_configs_build_command_runs(tmp_path: Path):
    """[build] is run by Clodo, in its folder, and the portfolio's word replaces it or takes it away."""
    effective = service(tmp_path, {}, WRANGLER + '[build]\ncommand = "make"\ncwd = "tools"\n')

    assert planned(tmp_path, effective) == [("build", "services/api/tools", "make")]
    assert planned(tmp_path, effective, '[services.api]\nbuild = "ninja"') == [("build", "services/api", "ninja")]
    assert planned(tmp_path, effective, "[services.api]\nbuild = false") == []


@pytest.mark.parametrize(
    ("main", "expected"),
    [("src/index.ts", []), ("built/worker.js", ["npm run build"]), ("ignored/worker.js", ["npm run build"])],
)
def test_the_packages_own_build_runs_when_what_is_uploaded_is_built(tmp_path: Path, main: str, expected: list[str]):
    """An entry point that is missing, or that git ignores, comes from the build script; a source does not."""
    effective = service(
        tmp_path,
        {
            ".git/HEAD": "",
            ".gitignore": "ignored",
            "services/api/ignored/worker.js": "",
            "services/api/package.json": {"scripts": {"build": "make"}},
        },
        WRANGLER.replace("src/index.ts", main),
    )

    assert [command for _, _, command in planned(tmp_path, effective)] == expected


@pytest.mark.parametrize(
    ("files", "config", "portfolio", "message"),
    [
        (
            {"services/api/package.json": {"scripts": {"build": "wrangler deploy --dry-run"}}},
            WRANGLER + '[build]\ncommand = "npm run build"\n',
            "",
            "wrangler.toml:5: the build command would deploy by itself: `npm run build` → `wrangler deploy --dry-run`",
        ),
        (
            {},
            WRANGLER,
            '[services.api]\nbuild = "npx wrangler deploy"',
            "portfolio.toml:2: the build command would deploy by itself: `npx wrangler deploy`",
        ),
        (
            {"services/api/package.json": {"dependencies": {"a": "1"}}, "services/api/yarn.lock": ""},
            WRANGLER,
            "",
            "yarn.lock:1: the packages are locked by yarn",
        ),
        (
            {"services/api/package.json": {"dependencies": {"a": "1"}}, "services/api/pnpm-lock.yaml": ""},
            WRANGLER,
            "",
            "pnpm-lock.yaml:1: the packages are locked by pnpm",
        ),
        (
            {"services/api/package.json": '{\n "dependencies": {"a": "1"}}'},
            WRANGLER,
            "",
            "package.json:2: no lock file says which versions",
        ),
        ({"services/api/package.json": '{\n "dependencies": [\n}'}, WRANGLER, "", "package.json:3: "),
    ],
)
def test_what_would_not_end_well_is_refused(
    tmp_path: Path, files: dict[str, Any], config: str, portfolio: str, message: str
):
    """Builds that deploy, foreign and missing lock files and broken package.jsons are refused with place and remedy."""
    effective = service(tmp_path, files, config)

    with pytest.raises(BadConfiguration) as caught:
        planned(tmp_path, effective, portfolio)

    assert message in caught.value.message
    assert caught.value.hint


def test_a_declared_install_is_taken_for_another_tool(tmp_path: Path):
    """With an install command declared, pnpm's lock is nobody's trouble."""
    effective = service(
        tmp_path,
        {"services/api/package.json": {"dependencies": {"a": "1"}}, "services/api/pnpm-lock.yaml": ""},
    )

    assert planned(tmp_path, effective, '[services.api]\ninstall = "pnpm i"') == [("install", "services/api", "pnpm i")]
    assert planned(tmp_path, effective, "[services.api]\ninstall = false") == []


# -- what is run


def test_a_build_runs_once_for_the_same_content(tmp_path: Path):
    """The second time nothing runs; a changed source, a changed or a deleted output make it run again."""
    effective = service(tmp_path, {}, WRANGLER.replace("src/index.ts", "out/worker.js"))
    workshop = Workshop(tmp_path)
    command = "mkdir -p out && cat src/index.ts > out/worker.js && echo run >> ran.log"
    write(tmp_path, {".gitignore": "out\n*.log\n", ".git/HEAD": ""})
    output, log = effective.folder / "out/worker.js", effective.folder / "ran.log"

    assert [workshop.build(effective, command).was_cached for _ in range(3)] == [False, True, True]
    (effective.folder / "src/index.ts").write_text("export default 2;", encoding="utf-8")
    assert [workshop.build(effective, command).was_cached for _ in range(2)] == [False, True]
    output.write_text("changed by hand", encoding="utf-8")
    assert [workshop.build(effective, command).was_cached for _ in range(2)] == [False, True]
    output.unlink()
    assert [workshop.build(effective, command).was_cached for _ in range(2)] == [False, True]
    assert output.read_text(encoding="utf-8") == "export default 2;"
    assert log.read_text(encoding="utf-8").count("run") == 4


def test_one_build_serves_every_environment(tmp_path: Path):
    """Environments with entry points of their own share one build."""
    config = WRANGLER + '[env.staging]\nmain = "out/staging.js"\n[env.production]\nmain = "out/production.js"\n'
    service(tmp_path, {}, config)
    read = WranglerConfig.read(tmp_path / "services/api/wrangler.toml")
    workshop = Workshop(tmp_path)
    command = "mkdir -p out && echo 1 > out/staging.js && echo 1 > out/production.js"

    assert not workshop.build(read.for_environment("staging"), command).was_cached
    assert workshop.build(read.for_environment("production"), command).was_cached


def test_parallel_targets_wait_for_one_build(tmp_path: Path):
    """Eight threads with builders of their own that ask at once see one run; all go on after it has ended."""
    effective = service(tmp_path, {".gitignore": "*.log\n", ".git/HEAD": ""})
    workshop = Workshop(tmp_path)
    ready = threading.Barrier(8)

    def ask(_: int) -> tuple[bool, str]:
        ready.wait()
        done = workshop.build(effective, "echo run >> ran.log; sleep 0.3; echo end >> ran.log")
        return done.was_cached, (effective.folder / "ran.log").read_text(encoding="utf-8")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))

    assert sorted(was_cached for was_cached, _ in answers) == [False] + [True] * 7
    assert {text for _, text in answers} == {"run\nend\n"}


def test_a_build_that_reaches_out_is_never_taken_for_done(tmp_path: Path):
    """What is built from outside the folder is built each time."""
    effective = service(tmp_path, {"shared.txt": "1"})
    workshop = Workshop(tmp_path)

    assert [workshop.build(effective, "cp ../../shared.txt src/").was_cached for _ in range(2)] == [False, False]


def test_a_failed_build_shows_its_last_20_lines_and_runs_again(tmp_path: Path):
    """The error has status, command and the end of the output, both streams; the failure is not remembered as done."""
    effective = service(tmp_path, {})
    workshop = Workshop(tmp_path)
    command = "for n in $(seq 40); do echo line $n; done; echo broken >&2; exit 3"

    for _ in range(2):
        with pytest.raises(BuildFailed) as caught:
            workshop.build(effective, command)

    assert "ended with status 3; its last lines:\nline 22\n" in caught.value.message
    assert caught.value.message.endswith("line 40\nbroken")
    assert workshop.lines.count("line 1") == 2


def test_a_build_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path):
    """The timeout ends the whole group, the child in the background too."""
    effective = service(tmp_path, {})
    workshop = Workshop(tmp_path)

    with pytest.raises(BuildFailed, match=r"took longer than 0 s"):
        workshop.build(effective, "sleep 60 & echo $! > child.pid; wait", build_timeout=timedelta(milliseconds=400))

    assert _has_ended(int((effective.folder / "child.pid").read_text(encoding="utf-8")))


def test_what_a_build_leaves_running_is_ended(tmp_path: Path):
    """A build that ends but leaves a child holding its output does not hold us up, and the child ends."""
    effective = service(tmp_path, {})
    started = time.monotonic()

    done = Workshop(tmp_path).build(effective, "sleep 60 & echo $! > child.pid")

    assert not done.was_cached
    assert time.monotonic() - started < 30
    assert _has_ended(int((effective.folder / "child.pid").read_text(encoding="utf-8")))


def _has_ended(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
    return False


def test_a_full_disk_is_told_as_such(tmp_path: Path):
    """ENOSPC in a tool's output is no mystery failure."""
    effective = service(tmp_path, {})

    with pytest.raises(NoSpaceLeft):
        Workshop(tmp_path).build(effective, "echo 'npm error code ENOSPC' >&2; exit 1")


def test_builds_see_no_credentials(tmp_path: Path):
    """Tokens of Cloudflare, Clodo and Prefect and Node's own switches stay out; npm's settings and proxies go in."""
    environment = tool_environment(
        {
            "PATH": "/somewhere",
            "HOME": "/home/me",
            "npm_config_registry": "r",
            "NPM_CONFIG_USERCONFIG": "u",
            "https_proxy": "p",
            "LC_ALL": "C",
            "CLOUDFLARE_API_TOKEN": "x",
            "CLODO_LEDGER_URL": "x",
            "PREFECT_API_AUTH_STRING": "x",
            "NODE_OPTIONS": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        },
        Path("/shims"),
    )

    assert environment == {
        "PATH": f"/shims{os.pathsep}/somewhere",
        "HOME": "/home/me",
        "npm_config_registry": "r",
        "NPM_CONFIG_USERCONFIG": "u",
        "https_proxy": "p",
        "LC_ALL": "C",
        "CI": "true",
        "NO_COLOR": "1",
        "npm_config_update_notifier": "false",
    }
    effective = service(tmp_path, {})
    workshop = Workshop(tmp_path)
    workshop.build(effective, "env")
    assert not any("hush" in line for line in workshop.lines)


def test_names_with_quotes_are_no_commands(tmp_path: Path):
    """A folder whose name looks like shell text is a folder, and the tools are found beside it."""
    root = tmp_path / "a'; touch pwned; '$(touch pwned)"
    root.mkdir()
    effective = service(root, {})
    node = tmp_path / "no'de"
    node.write_text('#!/bin/sh\necho node got "$@"\n', encoding="utf-8")
    node.chmod(0o700)
    workshop = Workshop(root, Tools(node=node))

    workshop.build(effective, "npm run 'x y'")

    assert f"node got {Tools().npm} run x y" in workshop.lines
    assert not list(tmp_path.rglob("pwned"))


LOCK: dict[str, Any] = {
    "": {"name": "api", "dependencies": {"a": "^1"}},
    "node_modules/a": {"version": "1.2.0", "resolved": "a.tgz", "integrity": "sha512-a"},
    "node_modules/b": {"version": "1.0.0", "resolved": "b.tgz", "optional": True},
}


@pytest.mark.parametrize(
    ("changed", "is_installed"),
    [
        ({}, True),
        ({"services/api/node_modules/.package-lock.json": None}, False),
        ({"services/api/node_modules/.package-lock.json": "{"}, False),
        ({"services/api/node_modules/.package-lock.json": {"packages": {}}}, False),
        (
            {"services/api/node_modules/.package-lock.json": {"packages": {**LOCK, "node_modules/c": {}}}},
            False,
        ),
        (
            {
                "services/api/node_modules/.package-lock.json": {
                    "packages": {"node_modules/a": {**LOCK["node_modules/a"], "version": "1.1.0"}}
                }
            },
            False,
        ),
        ({"services/api/package.json": {"name": "api", "dependencies": {"a": "^2"}}}, False),
        ({"services/api/node_modules/a/package.json": None}, False),
    ],
)
def test_what_the_user_installed_already_is_left_alone(tmp_path: Path, changed: dict[str, Any], is_installed: bool):
    """npm is not called when its own list says that node_modules is what the lock file says; else it is."""
    files = {
        "services/api/package.json": {"name": "api", "dependencies": {"a": "^1"}},
        "services/api/package-lock.json": {"packages": LOCK},
        "services/api/node_modules/.package-lock.json": {"packages": {"node_modules/a": LOCK["node_modules/a"]}},
        "services/api/node_modules/a/package.json": {"name": "a"},
        **changed,
    }
    effective = service(tmp_path, {name: content for name, content in files.items() if content is not None})
    steps = plan_steps(effective, Portfolio.default("x"), root=tmp_path)
    builder = Workshop(tmp_path).builder()

    if is_installed:
        (done,) = builder.prepare(effective, steps)
        assert done.was_cached
    else:
        with pytest.raises(Failed, match="nonexistent/node can't be started"):
            builder.prepare(effective, steps)


# -- with the real npm


WORKSPACE: dict[str, Any] = {
    ".git/HEAD": "",
    ".gitignore": "node_modules\nbuilt\n*.log\n",
    "package.json": {"name": "root", "private": True, "workspaces": ["packages/*", "services/*"]},
    "package-lock.json": {
        "name": "root",
        "lockfileVersion": 3,
        "requires": True,
        "packages": {
            "": {"name": "root", "workspaces": ["packages/*", "services/*"]},
            "node_modules/api": {"resolved": "services/api", "link": True},
            "node_modules/core": {"resolved": "packages/core", "link": True},
            "packages/core": {"version": "1.0.0"},
            "services/api": {"version": "1.0.0", "dependencies": {"core": "*"}},
        },
    },
    "packages/core/package.json": {
        "name": "core",
        "version": "1.0.0",
        "main": "built/index.js",
        "scripts": {"build": "mkdir -p built && cp index.js built/ && echo core >> ../../order.log"},
    },
    "packages/core/index.js": "export const core = 1;",
    "services/api/package.json": {
        "name": "api",
        "version": "1.0.0",
        "dependencies": {"core": "*"},
        "scripts": {
            "build": "mkdir -p built && cp ../../node_modules/core/built/index.js built/worker.js"
            " && echo api >> ../../order.log"
        },
    },
}


def test_a_fresh_workspace_is_installed_and_built_once(tmp_path: Path, toolchain: Any):
    """npm installs at the root, core is built before api, and a second look finds all of it done."""
    effective = service(tmp_path, WORKSPACE, WRANGLER.replace("src/index.ts", "built/worker.js"))
    steps = plan_steps(effective, Portfolio.default("x"), root=tmp_path)
    workshop = Workshop(tmp_path, toolchain)

    first = workshop.builder().prepare(effective, steps)

    assert [step.command for step in steps] == ["npm ci", "npm run build", "npm run build"]
    assert [done.was_cached for done in first] == [False, False, False]
    assert (tmp_path / "node_modules/core").resolve() == tmp_path / "packages/core"
    assert (effective.folder / "built/worker.js").read_text(encoding="utf-8") == "export const core = 1;"
    assert (tmp_path / "order.log").read_text(encoding="utf-8") == "core\napi\n"
    second = workshop.builder().prepare(effective, steps)
    assert [done.was_cached for done in second] == [True, True, True]


def test_a_failed_install_shows_what_npm_said(tmp_path: Path, toolchain: Any):
    """A locked archive that is not there is told in npm's own words."""
    dependencies = {"core": "file:core.tgz"}
    packages = {
        "": {"name": "api", "version": "1.0.0", "dependencies": dependencies},
        "node_modules/core": {"version": "1.0.0", "resolved": "file:core.tgz"},
    }
    files = {
        "services/api/package.json": {"name": "api", "version": "1.0.0", "dependencies": dependencies},
        "services/api/package-lock.json": {"name": "api", "lockfileVersion": 3, "packages": packages},
    }
    effective = service(tmp_path, files)
    steps = plan_steps(effective, Portfolio.default("x"), root=tmp_path)

    with pytest.raises(InstallFailed, match="`npm ci` ended with status") as caught:
        Workshop(tmp_path, toolchain).builder().prepare(effective, steps)

    assert "ENOENT" in caught.value.message
    assert "core.tgz" in caught.value.message
