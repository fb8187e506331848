"""What environments inherit, held against the installed wrangler."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clodo.workspace.inheritance import INHERITED, NOT_INHERITED, TOP_LEVEL_ONLY, flatten


def test_the_lists_are_those_of_the_installed_wrangler(toolchain: Any):
    """Every key that wrangler's own code inherits or doesn't is in the list of that kind."""
    code = toolchain.wrangler.read_text(encoding="utf-8")
    start = code.index("function normalizeAndValidateEnvironment(")
    body = code[start : code.index("\nfunction ", start + 10)]

    inherited = set(re.findall(r'\binheritable\(\s*diagnostics,\s*topLevelEnv,\s*[^"]*?"(\w+)"', body))
    not_inherited = set(re.findall(r'\bnotInheritable\([^"]*?"(\w+)"', body))

    # These few go through functions of their own, which inherit.
    elsewhere = {"assets", "build", "limits", "placement", "route", "routes", "rules", "tsconfig"}
    assert inherited | elsewhere == set(INHERITED)
    assert not_inherited == set(NOT_INHERITED)


def test_every_key_of_wranglers_schema_is_known(toolchain: Any):
    """No key of the schema that ships with wrangler is missing from the three lists."""
    schema_file = toolchain.wrangler.parent.parent / "config-schema.json"
    schema = json.loads(schema_file.read_text(encoding="utf-8"))

    keys = set(schema["definitions"]["RawConfig"]["properties"])

    assert keys <= {*INHERITED, *NOT_INHERITED, *TOP_LEVEL_ONLY}


_KEYS = st.sampled_from([*INHERITED, *NOT_INHERITED, *(key for key in TOP_LEVEL_ONLY if key != "env")])
_SECTIONS = st.dictionaries(_KEYS, st.integers() | st.none() | st.just(""), max_size=12)


@given(_SECTIONS, _SECTIONS)
def test_each_value_comes_from_where_wrangler_takes_it(top: dict[str, Any], own: dict[str, Any]):
    """An environment has its own values, inherits those that are inherited, and nothing else."""
    flat = flatten({**top, "env": {"staging": own}}, "staging")

    def given_in(section: dict[str, Any], key: str) -> bool:
        return section.get(key) is not None and not (key in ("account_id", "route") and section[key] == "")

    for key in (*INHERITED, *NOT_INHERITED):
        if given_in(own, key):
            assert (flat.values[key], flat.origins[key]) == (own[key], ("env", "staging", key))
        elif key in INHERITED and given_in(top, key):
            assert (flat.values[key], flat.origins[key]) == (top[key], (key,))
        else:
            assert key not in flat.values
    for key in TOP_LEVEL_ONLY:
        if key != "env":
            assert flat.values.get(key) == top.get(key)
    assert flat.values.keys() == flat.origins.keys()


def test_what_wrangler_would_warn_of_is_said():
    """Keys and vars that an environment loses, unknown keys and inherited custom domains are each one warning."""
    data = {
        "name": "api",
        "vars": {"A": 1, "B": 2},
        "kv_namespaces": [],
        "routes": [{"pattern": "shop.example", "custom_domain": True}],
        "compatability_date": "2026-01-01",
        "env": {"staging": {"vars": {"A": 3}, "alias": {}}},
    }

    warnings = {warned.path: warned.what for warned in flatten(data, "staging").warnings}

    assert warnings[("kv_namespaces",)] == (
        '"kv_namespaces" stands at the top level but not in env.staging, which does not inherit it'
    )
    assert warnings[("vars", "B")] == 'var "B" stands at the top level but not in env.staging.vars'
    assert "shop.example" in warnings[("routes",)]
    assert '(did you mean "compatibility_date"?)' in warnings[("compatability_date",)]
    assert "top level only" in warnings[("env", "staging", "alias")]
    assert len(warnings) == 5
