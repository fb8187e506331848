"""Each rule fires where it should, at the right line, and is silent where it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from clodo.workspace.finding import Finding
from clodo.workspace.validation import config_findings
from clodo.workspace.wrangler_config import WranglerConfig
from tests.workspace.folders import write

ID = "0123456789abcdef0123456789abcdef"
UUID = "11111111-2222-3333-4444-555555555555"
FINE = f"""\
name = "api"
main = "index.js"
compatibility_date = "2026-01-01"
account_id = "{ID}"
routes = []

[vars]
LEVEL = "info"

[[d1_databases]]
binding = "DB"
database_name = "api"
database_id = "{UUID}"

[env.staging]
routes = [{{ pattern = "staging.example.com/*", zone_id = "{ID}" }}]

[env.staging.vars]
LEVEL = "debug"

[[env.staging.d1_databases]]
binding = "DB"
database_name = "api-staging"
"""


def findings(tmp_path: Path, text: str, **files: str) -> list[Finding]:
    write(tmp_path, {"index.js": "export default {}", "wrangler.toml": text, **files})
    return list(dict.fromkeys(config_findings(WranglerConfig.read(tmp_path / "wrangler.toml"), tmp_path)))


def test_a_sound_config_has_no_findings(tmp_path):
    """What is right is not complained of."""
    assert findings(tmp_path, FINE) == []


@pytest.mark.parametrize(
    ("old", "new", "rule", "line", "message"),
    [
        ('"2026-01-01"', '"2026-01-01"\nmian = "x"', "unknown-key", 4, 'unknown key "mian".*did you mean "main"'),
        ("[env.staging]\n", "[env.staging]\nrouts = []\n", "unknown-key", 16, 'did you mean "routes"'),
        ("[env.staging]\n", "[env.staging]\nsend_metrics = false\n", "top-level-only", 16, "top level only"),
        ('LEVEL = "info"', 'LEVEL = "info"\nREGION = "weur"', "not-inherited", 9, 'var "REGION"'),
        ("[vars]", '[[kv_namespaces]]\nbinding = "K"\n\n[vars]', "not-inherited", 7, '"kv_namespaces".*env.staging'),
        ('compatibility_date = "2026-01-01"\n', "", "compatibility-date", 1, "no compatibility_date"),
        ('main = "index.js"\n', "", "missing-file", 1, "nothing to upload"),
        ('"index.js"', '"src/index.js"', "missing-file", 2, "src/index.js is not there"),
        ("routes = []", 'assets = { directory = "dist" }\nroutes = []', "missing-file", 5, "dist is not there"),
        (f'"{UUID}"', '"<paste the id here>"', "resource-id", 10, "no UUID"),
        (f'account_id = "{ID}"', 'account_id = "mine"', "resource-id", 4, "account_id is not 32 hex digits"),
        (f'zone_id = "{ID}"', 'zone_id = "example.com"', "resource-id", 16, "zone_id .* is not 32 hex digits"),
        ('database_name = "api-staging"', f'database_id = "{UUID}"', "shared-database", 21, "same D1 database"),
        ("[vars]", '[vars]\nDB = "text"', "refused", 8, 'the binding name "DB" is taken'),
        ('"2026-01-01"', '"01.01.2026"', "refused", 3, "is not a date"),
        ("routes = []", 'build = { command = "npx wrangler deploy" }', "build-deploys", 5, "calls a deploy"),
    ],
)  # fmt: skip
def test_each_rule_says_where_and_what(tmp_path, old, new, rule, line, message):
    """One mistake gives a finding of its rule at its line, with what is wrong and what to do."""
    import re

    assert old in FINE

    found = [item for item in findings(tmp_path, FINE.replace(old, new, 1)) if item.rule == rule]

    assert found
    assert any(item.line == line and re.search(message, item.message) for item in found), found
    assert all(item.remedy.endswith(".") and item.file == str(tmp_path / "wrangler.toml") for item in found)


def test_an_inherited_custom_domain_is_a_warning(tmp_path):
    """An environment without routes would take the custom domain of the top level over."""
    text = FINE.replace("routes = []", 'routes = [{ pattern = "example.com", custom_domain = true }]').replace(
        f'routes = [{{ pattern = "staging.example.com/*", zone_id = "{ID}" }}]\n', ""
    )

    assert [item.rule for item in findings(tmp_path, text)] == ["inherited-domain"]


def test_a_key_that_fell_into_a_table_is_found(tmp_path):
    """`account_id` below a table's header belongs to that table, which is how it gets lost."""
    text = 'name = "api"\ncompatibility_date = "2026-01-01"\n\n[build]\ncommand = "true"\naccount_id = "x"\n'
    write(tmp_path, {"wrangler.toml": text})

    config = WranglerConfig.read(tmp_path / "wrangler.toml")

    assert config.for_environment(None).account_id is None


def test_an_entry_point_that_is_built_may_be_missing(tmp_path):
    """What a build makes need not be there before it."""
    built = FINE.replace('"index.js"', '"dist/index.js"').replace("routes = []", 'build = { command = "tsc" }')

    assert findings(tmp_path, built) == []


def test_a_build_that_deploys_through_a_script_is_an_error(tmp_path):
    """`npm run build` that calls `wrangler deploy --dry-run` would start itself again and again."""
    text = FINE.replace("routes = []", 'build = { command = "npm run build" }')
    package = '{"scripts": {"build": "wrangler deploy --dry-run"}}'

    (found,) = findings(tmp_path, text, **{"package.json": package})

    assert found.rule == "build-deploys"
    assert "npm run build → wrangler deploy --dry-run" in found.message


def test_a_config_that_is_never_read_is_named(tmp_path):
    """wrangler takes wrangler.json before wrangler.toml; the other one misleads."""
    write(tmp_path, {"wrangler.toml": FINE, "index.js": "", "wrangler.json": {"name": "api"}})

    found = [
        item
        for item in config_findings(WranglerConfig.read(tmp_path / "wrangler.json"), tmp_path)
        if item.rule == "two-configs"
    ]

    assert [(Path(item.file).name, item.message) for item in found] == [
        ("wrangler.toml", "is never read, because wrangler.json stands beside it")
    ]
