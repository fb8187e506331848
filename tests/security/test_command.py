"""`clodo security validate`: lines, JSON and SARIF, without a server."""

from __future__ import annotations

import json

import jsonschema
import pytest

from clodo.cli.main import main
from tests.security.test_checking import SARIF
from tests.workspace.folders import write

CONFIG = """\
name = "api"
main = "index.js"
compatibility_date = "2026-10-01"
workers_dev = false
[vars]
API_URL = "{url}"
DEBUG = "true"
"""
WAIVER = '[[security.waivers]]\nrule = "localhost-url"\nreason = "a tunnel"\nexpires = {day}\n'
HIDDEN = "8787/hush"


@pytest.fixture
def clodo(tmp_path, capsys):
    """Run a command on a workspace; return its status and what it printed."""

    def run(*words: str, url: str = f"http://localhost:{HIDDEN}", portfolio: str = ""):
        files = {"portfolio.toml": portfolio, "api/wrangler.toml": CONFIG.format(url=url), "api/index.js": ""}
        write(tmp_path, files)
        capsys.readouterr()
        status = main(["--workspace", str(tmp_path), "security", *words])
        return status, *capsys.readouterr()

    return run


def test_a_critical_finding_ends_with_4_and_says_where(clodo):
    """A line with place, key and target, a remedy once for each rule, and never the value."""
    status, out, err = clodo("validate")

    assert status == 4
    first, remedy, second, *_ = out.splitlines()
    assert first.startswith("api/wrangler.toml:6: critical: API_URL ")
    assert first.endswith("[localhost-url] api@production")
    assert remedy.startswith("    Name the address")
    assert second.startswith("api/wrangler.toml:7: warning: DEBUG ")
    assert "1 critical, 2 findings, 0 waived" in err
    assert HIDDEN not in out + err


def test_nothing_critical_ends_with_0(clodo):
    """Warnings are told, and stop nobody."""
    status, out, _ = clodo("validate", "--json", url="https://api.example.com")

    told = json.loads(out)
    assert (status, told["ok"]) == (0, True)
    (found,) = told["findings"]
    assert (found["rule"], found["key"], found["target"]) == ("debug-flag", "DEBUG", "api@production")
    assert found["message"].startswith("DEBUG ")
    assert {"rules", "scan"} == told["seconds"].keys()


def test_a_waiver_is_told_with_its_reason(clodo):
    """It lets the check pass until its day; afterwards the finding is back."""
    valid = json.loads(clodo("validate", "--json", "--no-scan", portfolio=WAIVER.format(day="2999-01-01"))[1])
    status, out, _ = clodo("validate", "--json", "--no-scan", portfolio=WAIVER.format(day="2020-01-01"))

    assert (valid["ok"], valid["waived"][0]["reason"]) == (True, "a tunnel")
    assert status == 4
    assert json.loads(out)["findings"][0]["expired_waiver"] == "2020-01-01"


def test_sarif_is_printed_for_code_hosts(clodo):
    """One document on standard output, with the standard's essentials."""
    status, out, _ = clodo("validate", "--sarif")

    log = json.loads(out)
    jsonschema.validate(log, SARIF)
    assert status == 4
    assert [result["level"] for result in log["runs"][0]["results"]] == ["error", "warning"]
    assert HIDDEN not in out


def test_two_forms_at_once_and_unknown_targets_are_refused(clodo):
    """Usage is 2, a target that isn't there is 10."""
    assert clodo("validate", "--json", "--sarif")[0] == 2
    assert clodo("validate", "web@production")[0] == 10
