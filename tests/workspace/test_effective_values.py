"""What a target is configured to be, value by value; secrets are masked and still compared."""

from __future__ import annotations

import pytest

from clodo.workspace.differences import content_of, differences, values_of_content
from clodo.workspace.effective_values import Value, effective_values, looks_secret
from clodo.workspace.workspace import Workspace
from tests.workspace.folders import write

CONFIG = """\
{
  "name": "api",
  "routes": ["a.example/*", { "pattern": "b.example", "custom_domain": true }],
  "d1_databases": [{ "binding": "DB", "database_name": "api" }],
  "env": {
    "staging": {
      "vars": { "LEVEL": "debug", "STRIPE_KEY": "sk_test_1234567890", "LIMITS": { "upload": 10 } },
      "d1_databases": [{ "binding": "LOG", "database_name": "log" }, { "binding": "DB", "database_name": "api-s" }]
    }
  },
  "vars": { "LEVEL": "info", "STRIPE_KEY": "sk_live_1234567890" }
}
"""
PORTFOLIO = '[environments.production]\n[environments.staging]\naccount = "test"\n[services.api]\nsecrets = ["JWT"]\n'


@pytest.fixture
def workspace(tmp_path):
    return Workspace.load(write(tmp_path, {"wrangler.jsonc": CONFIG, "portfolio.toml": PORTFOLIO}))


def of(workspace, target):
    return {value.path: value for value in effective_values(workspace, workspace.find(target))}


def test_every_value_has_its_place_and_lists_are_known_by_name(workspace):
    """Bindings and routes are found by their names whatever their order; inherited values keep their line."""
    staging = of(workspace, "api@staging")

    assert {
        path: value.place.rpartition(":")[2] for path, value in staging.items() if path.startswith(("d1", "rou"))
    } == {
        "d1_databases.DB.binding": "8",
        "d1_databases.DB.database_name": "8",
        "d1_databases.LOG.binding": "8",
        "d1_databases.LOG.database_name": "8",
        "routes.a.example/*.pattern": "3",
        "routes.b.example.pattern": "3",
        "routes.b.example.custom_domain": "3",
    }
    assert staging["vars.LIMITS.upload"].value == 10
    assert staging["portfolio.account"].place.endswith("portfolio.toml:3")
    assert staging["secrets.JWT"].value == "required"


def test_what_looks_secret_is_masked_everywhere(workspace):
    """Neither the table nor JSON nor the value's own representation shows it."""
    value = of(workspace, "api")["vars.STRIPE_KEY"]

    assert (value.is_secret, value.shown, value.text) == (True, "***", "***")
    assert "sk_live" not in repr(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain é", "plain é"),
        ("two\nlines", '"two\\nlines"'),
        (["a", 1], '["a", 1]'),
        (True, "true"),
        ("\x1b[2J", '"\\u001b[2J"'),
    ],
)
def test_a_value_is_one_line_and_moves_no_cursor(value, text):
    """Whatever a config holds, it takes one line of a table, and no escape sequence reaches the terminal."""
    assert Value("vars.A", value, "x:1").text == text


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("API_TOKEN", "x", True),
        ("jwtSecret", "x", True),
        ("DATABASE_URL", "postgres://me:pw@host/db", True),
        ("STRIPE_KEY", "x", True),
        ("PASSWORD", "", False),
        ("KEYBOARD", "qwerty", False),
        ("API_URL", "https://api.example.com/v1", False),
        ("LEVEL", "info", False),
    ],
)
def test_names_and_looks_tell_secrets(name, value, is_secret):
    """A name that ends in key, token or the like, or a login in a URL, is a secret; ordinary settings are not."""
    assert looks_secret(name, value) is is_secret


def test_differences_are_by_path_and_mask_secrets(workspace):
    """Two environments differ in exactly what is written differently; a secret shows only that it differs."""
    found = {
        item.path: item for item in differences(of(workspace, "api").values(), of(workspace, "api@staging").values())
    }

    assert set(found) == {
        "d1_databases.DB.database_name", "d1_databases.LOG.binding", "d1_databases.LOG.database_name", "name",
        "portfolio.account", "portfolio.secrets", "vars.LEVEL", "vars.LIMITS.upload", "vars.STRIPE_KEY",
    }  # fmt: skip
    assert found["vars.STRIPE_KEY"].to_json()["before"] == found["vars.STRIPE_KEY"].to_json()["after"] == "***"
    assert found["d1_databases.LOG.binding"].to_json()["before"] is None


def test_kept_content_has_no_secret_and_still_tells_whether_one_changed(workspace):
    """A fingerprint stands in for a secret: equal when it is the same, different when it changed."""
    now = list(of(workspace, "api").values())
    kept = content_of(now, lambda value: f"f:{len(value)}:{value[-1]}")

    same = differences(values_of_content(kept, "before"), now, fingerprint=lambda value: f"f:{len(value)}:{value[-1]}")
    other = differences(values_of_content(kept, "before"), now, fingerprint=lambda value: "f:other")

    assert "sk_live" not in str(kept)
    assert same == ()
    assert [item.path for item in other] == ["vars.STRIPE_KEY"]
