"""The toolchain: whole or not there, whatever interrupts its installation."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from clodo.errors import BadConfiguration, InstallFailed, NoSpaceLeft, ToolchainMissing
from clodo.settings import Settings
from clodo.wrangler.toolchain import PACKAGE_DIR, Toolchain, install, locate

INSTALL = """
import sys
from pathlib import Path
from clodo.settings import Settings
from clodo.wrangler.toolchain import install
said = []
toolchain = install(Settings(cache_dir=Path(sys.argv[1])), lambda text, share: said.append((text, share)))
print(toolchain.wrangler)
print(len(said))
"""


def settings_of(toolchain: Toolchain) -> Settings:
    return Settings(cache_dir=toolchain.cache_dir)


def fake_node(folder: Path, script: str) -> Path:
    """Write a node that only knows its version, and does *script* for anything else."""
    node = folder / "node"
    node.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo v99.0.0; exit 0; fi\n{script}\n')
    node.chmod(0o755)
    return node


def test_the_lock_pins_every_package_by_its_checksum_and_names_no_host() -> None:
    """wrangler and workerd are exact; what is fetched on Linux has a checksum; addresses are npm's business."""
    text = (PACKAGE_DIR / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]

    assert packages["node_modules/wrangler"]["version"] == "4.164.0"
    assert packages["node_modules/workerd"]["version"] == "1.20261117.1"
    assert '"resolved"' not in text
    unchecked = [name for name, package in packages.items() if name and "integrity" not in package]
    assert [name for name in unchecked if "linux" in packages[name].get("os", ["linux"])] == []


def test_the_installed_tools_are_the_pinned_ones(toolchain: Toolchain) -> None:
    """Each tool runs and says the version that the toolchain promises."""
    node = subprocess.run([toolchain.node, "--version"], capture_output=True, text=True, check=True).stdout
    workerd = subprocess.run([toolchain.workerd, "--version"], capture_output=True, text=True, check=True).stdout
    npm = subprocess.run([toolchain.node, toolchain.npm, "--version"], capture_output=True, text=True, check=True)

    assert node.strip() == f"v{toolchain.versions['node']}"
    assert workerd.strip() == "workerd 2026-11-17"
    assert npm.stdout.strip()
    assert toolchain.node.read_bytes()[:4] == b"\x7fELF" or sys.platform != "linux"
    assert locate(settings_of(toolchain)) == toolchain


def test_a_warm_cache_needs_neither_network_nor_npm(toolchain: Toolchain, tmp_path: Path) -> None:
    """What is installed is found without a single process but ``node --version``, and that only for one's own node."""
    called = tmp_path / "called"
    node = tmp_path / "node"
    node.write_text(f'#!/bin/sh\necho "$@" >> {called}\nexec {toolchain.node} "$@"\n')
    node.chmod(0o755)

    again = install(replace(settings_of(toolchain), node=node))

    assert again.wrangler == toolchain.wrangler
    assert called.read_text() == "--version\n"


def test_offline_with_a_cold_cache_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without network and cache there is one sentence with a remedy, and nothing that looks installed."""
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    settings = Settings(cache_dir=tmp_path / "cache")

    with pytest.raises(ToolchainMissing, match=r"can't be fetched: .*ECONNREFUSED") as raised:
        install(settings)

    assert raised.value.hint is not None
    assert "CLODO_WRANGLER" in raised.value.hint
    assert [path.name for path in (tmp_path / "cache" / "toolchain").iterdir()] == ["install.lock"]
    with pytest.raises(ToolchainMissing, match="not installed"):
        locate(settings)


@pytest.mark.exhaustive
@pytest.mark.timeout(300)
def test_a_killed_install_is_repaired_by_two_at_once(
    toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An install that was killed in the middle leaves nothing that looks whole; of the next two, one installs."""
    assert locate(settings_of(toolchain)) == toolchain
    cache = tmp_path / "cache"
    places = cache / "toolchain"
    command = [sys.executable, "-c", INSTALL, cache]
    with socket.create_server(("127.0.0.1", 0)) as silent_registry:
        registry = f"http://127.0.0.1:{silent_registry.getsockname()[1]}/"
        environment = {**os.environ, "npm_config_registry": registry, "npm_config_cache": str(tmp_path / "npm")}
        killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        connection, _ = silent_registry.accept()
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        connection.close()
    assert list(places.glob(".*-partial"))
    with pytest.raises(ToolchainMissing):
        locate(Settings(cache_dir=cache))

    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [one.communicate()[0].splitlines() for one in both]

    assert [one.returncode for one in both] == [0, 0]
    found = locate(Settings(cache_dir=cache))
    assert {wrangler for wrangler, _ in answers} == {str(found.wrangler)}
    # One spoke of every package it fetched, the other only said that all is there.
    assert min(int(said) for _, said in answers) == 1 < max(int(said) for _, said in answers)
    assert {path.name for path in places.iterdir()} == {"install.lock", found.wrangler.parents[3].name}
    shutil.rmtree(cache)


@pytest.mark.parametrize("missing", ["wrangler/wrangler-dist/cli.js", "marker"])
def test_a_damaged_toolchain_is_not_taken_for_whole(toolchain: Toolchain, tmp_path: Path, missing: str) -> None:
    """A folder without its marker, or without a tool, doesn't count as installed."""
    whole = toolchain.wrangler.parents[3]
    place = tmp_path / "toolchain" / whole.name
    modules = place / "node_modules"
    (modules / "wrangler").mkdir(parents=True)
    (modules / "wrangler" / "wrangler-dist").symlink_to(whole / "node_modules/wrangler/wrangler-dist")
    (modules / "@cloudflare").symlink_to(whole / "node_modules/@cloudflare")
    shutil.copy(whole / "clodo-toolchain.json", place)
    settings = Settings(cache_dir=tmp_path)
    assert locate(settings).versions == toolchain.versions

    if missing == "marker":
        (place / "clodo-toolchain.json").write_text("{}")
    else:
        (modules / "wrangler" / "wrangler-dist").unlink()

    with pytest.raises(ToolchainMissing):
        locate(settings)


@pytest.mark.parametrize(
    ("said", "status", "fact"),
    [
        ("npm error code ENOSPC\nnpm error syscall write", 228, NoSpaceLeft),
        ("npm warn tar TAR_ENTRY_ERROR ENOSPC: no space left on device, write", 0, NoSpaceLeft),
        ("npm warn tar TAR_ENTRY_ERROR EIO: i/o error, write", 0, InstallFailed),
        ("npm error code EINTEGRITY\nnpm error sha512-x integrity checksum failed", 1, InstallFailed),
        ("npm error code EAI_AGAIN\nnpm error request to failed", 1, ToolchainMissing),
    ],
    ids=["disk full", "disk full, exit 0", "files not written, exit 0", "wrong checksum", "no name resolution"],
)
def test_npms_failures_are_told_apart(tmp_path: Path, said: str, status: int, fact: type[Exception]) -> None:
    """A full disk, a wrong checksum and no network are three facts; none leaves anything behind."""
    lines = "\n".join(f"echo '{line}' >&2" for line in said.splitlines())
    settings = Settings(cache_dir=tmp_path / "cache", node=fake_node(tmp_path, f"{lines}\nexit {status}"))

    with pytest.raises(fact):
        install(settings)

    assert [path.name for path in (tmp_path / "cache" / "toolchain").iterdir()] == ["install.lock"]


def test_a_cache_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    """A cache folder that is a file is an error with a remedy, not a traceback."""
    (tmp_path / "cache").write_text("")

    with pytest.raises(InstallFailed, match="can't write the toolchain's cache"):
        install(Settings(cache_dir=tmp_path / "cache", node=fake_node(tmp_path, "exit 1")))


def test_ones_own_tools_are_used_instead(toolchain: Toolchain, tmp_path: Path) -> None:
    """With one's own wrangler and workerd nothing is installed, and the fingerprint says that they are others."""
    own = Settings(cache_dir=tmp_path, wrangler=toolchain.wrangler.parents[1], workerd=toolchain.workerd)

    found = install(own)

    assert found.wrangler == toolchain.wrangler
    assert found.versions["wrangler"] == "4.164.0"
    assert found.versions["workerd"] == "2026-11-17"
    assert found.fingerprint != toolchain.fingerprint
    assert install(replace(own, wrangler=toolchain.wrangler)).fingerprint == found.fingerprint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["node", "wrangler", "workerd"])
def test_ones_own_tool_that_is_not_there_is_named(toolchain: Toolchain, tmp_path: Path, name: str) -> None:
    """The message says which setting is wrong."""
    own = Settings(cache_dir=tmp_path, wrangler=toolchain.wrangler, workerd=toolchain.workerd)
    gone = tmp_path / "gone"
    wrong = {
        "node": replace(own, node=gone),
        "wrangler": replace(own, wrangler=gone),
        "workerd": replace(own, workerd=gone),
    }

    with pytest.raises(ToolchainMissing, match=f"{name} is not at .*gone") as raised:
        install(wrong[name])

    assert raised.value.hint == f"Correct or unset CLODO_{name.upper()}."


def test_a_file_that_is_no_wrangler_is_refused(toolchain: Toolchain, tmp_path: Path) -> None:
    """CLODO_WRANGLER must be part of a wrangler package."""
    (tmp_path / "cli.js").write_text("")

    with pytest.raises(BadConfiguration, match="CLODO_WRANGLER"):
        locate(Settings(cache_dir=tmp_path, wrangler=tmp_path / "cli.js", workerd=toolchain.workerd))


def test_a_tool_that_does_not_run_here_says_what_it_said(toolchain: Toolchain, tmp_path: Path) -> None:
    """A binary for another machine is found out before it is used."""
    broken = tmp_path / "workerd"
    broken.write_text("#!/bin/sh\necho 'wrong libc' >&2\nexit 127\n")
    broken.chmod(0o755)

    with pytest.raises(InstallFailed, match="wrong libc"):
        locate(Settings(cache_dir=tmp_path, wrangler=toolchain.wrangler, workerd=broken))
