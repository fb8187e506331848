"""The real wrangler warns of what Clodo warns of, no more and no less."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clodo.settings import child_environment
from clodo.workspace.inheritance import flatten
from clodo.workspace.wrangler_config import WranglerConfig
from clodo.wrangler.toolchain import Toolchain
from tests.workspace.folders import write

MESSY = Path(__file__).parents[1] / "samples" / "messy"
ODD = """\
name = "odd"
main = "index.js"
compatibility_date = "2026-01-01"
mian = "x"
[vars]
A = "1"
B = "2"
[[kv_namespaces]]
binding = "K"
id = "0123456789abcdef0123456789abcdef"
[[services]]
binding = "S"
service = "s"
[env.staging]
rotues = []
send_metrics = false
[env.staging.vars]
A = "1"
"""
QUIET = {"CI": "true", "WRANGLER_SEND_METRICS": "false", "WRANGLER_HIDE_BANNER": "true", "NO_COLOR": "1"}


def wranglers_warnings(toolchain: Toolchain, config: Path, home: Path) -> tuple[set[str], set[str]]:
    """Return the keys that wrangler calls unexpected, and those it says are not inherited; staging, nothing is sent."""
    words = ["deploy", "--dry-run", "--outdir", str(home / "out"), "--config", str(config), "--env", "staging"]
    environment = {**child_environment(without=("CLOUDFLARE_", "CLODO_")), **QUIET, "HOME": str(home)}
    ended = subprocess.run(
        [str(toolchain.node), str(toolchain.wrangler), *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=config.parent,
    )
    said = ended.stdout + ended.stderr
    assert "dry-run: exiting now" in said or "compatibility_date is required" in said, said
    unexpected = {
        key
        for found in re.findall(r"Unexpected fields found in [^:]*: (.*)", said)
        for key in re.findall(r'"([^"]+)"', found)
    }
    missing = set(re.findall(r'- "(\w+)" exists at the top level', said))
    listed = re.search(r'Please add these vars to "env\.staging\.vars":\n((?:\s+- \w+\n)+)', said)
    missing |= {f"vars.{name}" for name in re.findall(r"- (\w+)", listed[1])} if listed else set()
    return unexpected, missing


def our_warnings(config: Path) -> tuple[set[str], set[str]]:
    warnings = flatten(WranglerConfig.read(config).document.data, "staging").warnings
    unexpected = {str(item.path[-1]) for item in warnings if item.rule in ("unknown-key", "top-level-only")}
    missing = {".".join(map(str, item.path)) for item in warnings if item.rule == "not-inherited"}
    return unexpected, missing


@pytest.mark.exhaustive
@pytest.mark.parametrize("service", ["odd", "orders", "billing", "payments", "search", "media-resize", "gateway"])
def test_wrangler_and_clodo_warn_of_the_same(toolchain: Toolchain, tmp_path: Path, service: str):
    """Unexpected keys and keys that are not inherited are the same to both, on configs of every kind."""
    if service == "odd":
        folder = write(tmp_path / "odd", {"wrangler.toml": ODD, "index.js": "export default { fetch() {} }"})
    else:
        folder = shutil.copytree(next(MESSY.glob(f"*/{service}")), tmp_path / service)
        # A build that deploys would start itself again and again.
        for config in folder.glob("wrangler.*"):
            config.write_text(config.read_text().replace('"build": {"command": "npm run build"}', '"no_bundle": false'))
    (config,) = folder.glob("wrangler.*")

    theirs = wranglers_warnings(toolchain, config, tmp_path)

    assert our_warnings(config) == theirs
