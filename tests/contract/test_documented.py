"""docs/emulator.md against the embedded cloud: every endpoint is in its tables, and its examples run as they stand."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clodo.emulator.server import EmbeddedCloud
from clodo.wrangler.toolchain import Toolchain
from tests.contract.test_recorded import ROOT, rows_of
from tests.emulator.conftest import WORKER_JS

TEXT = (ROOT / "docs" / "emulator.md").read_text()
#: Those that begin so are not below ``accounts/{id}``.
GENERAL = ("accounts", "memberships", "user", "ips", "zones", "graphql", "pages/assets")
_CELL = re.compile(r"`([^`]+)`((?: (?:GET|POST|PUT|PATCH|DELETE)\*?)+)")


def documented() -> set[tuple[str, str]]:
    """Return method and path of each endpoint in the tables; what varies is ``{}``."""
    found = set()
    for cell, _ in rows_of("What is served"):
        for path, methods in _CELL.findall(cell):
            whole = path if path.startswith(GENERAL) else f"accounts/{{id}}/{path}"
            found |= {(method.rstrip("*"), _anonymous(f"/{whole}")) for method in methods.split()}
    return found


def _anonymous(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "{}", path)


def test_every_endpoint_is_in_the_tables(cloud: EmbeddedCloud) -> None:
    """What is served is documented with where its answers are from, and what is documented is served."""
    served = {(method, _anonymous(path)) for method, path in cloud.endpoints()}

    assert sorted(served - documented()) == [], "served, but in no table of docs/emulator.md"
    assert sorted(documented() - served) == [], "in a table of docs/emulator.md, but not served"


def test_every_row_says_where_from() -> None:
    """No row leaves its source open."""
    rows = rows_of("What is served")

    assert len(rows) > 20
    for cell, source in rows:
        is_typed = "*" in cell
        assert is_typed or re.search("recorded|observed|assumed|wrangler|typed", source), cell


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_shell_example_deploys_and_answers(tmp_path: Path, toolchain: Toolchain) -> None:
    """The lines for one's own CI, run by a shell as they stand but for the port, deploy a Worker that answers."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine, and the example calls it")
    (example,) = blocks("sh")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    commands = tmp_path / "bin"
    commands.mkdir()
    clodo = f'exec {sys.executable} -c "import sys; from clodo.cli.main import main; sys.exit(main())" "$@"'
    start = f'exec {toolchain.node} {toolchain.wrangler} "$@"'
    workerd = '[ "$2" = start ] && set -- "$@" --workerd "$WORKERD"\n'
    (commands / "clodo").write_text(f"#!/bin/sh\n{workerd}{clodo}\n")
    (commands / "npx").write_text(f"#!/bin/sh\nshift\n{start}\n")
    for command in commands.iterdir():
        command.chmod(0o755)
    project = tmp_path / "project"
    project.mkdir()
    (project / "index.js").write_text(WORKER_JS)
    (project / "wrangler.json").write_text(
        '{"name": "shop", "main": "index.js", "compatibility_date": "2026-01-01", "workers_dev": true}'
    )

    shell = subprocess.Popen(
        ["sh", "-e", "-c", example.replace("8787", str(port))],
        cwd=project,
        env={
            "PATH": f"{commands}:{os.defpath}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(tmp_path),
            "CI": "true",
            "WORKERD": str(toolchain.workerd),
            "WRANGLER_SEND_METRICS": "false",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = shell.communicate(timeout=100)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)

    assert shell.returncode == 0, errors
    assert output.rstrip().endswith('"release":"RELEASE"}')


def test_the_python_example_runs(tmp_path: Path, toolchain: Toolchain) -> None:
    """The example for the same process starts a cloud, makes an account and arms a fault."""
    (example,) = (block for block in blocks("python") if "EmbeddedCloud(" in block)
    names: dict[str, object] = {"folder": tmp_path, "workerd": toolchain.workerd}

    exec(compile(example, "docs/emulator.md", "exec"), names)

    assert names["keys"]
