"""Lines of keys in TOML."""

from __future__ import annotations

import tomllib
from typing import Any

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from clodo.workspace import toml_lines

_TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=12)
_SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _TEXT
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=12,
)


def _paths(value: Any, at: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path for key, inner in items for path in ((*at, key), *_paths(inner, (*at, key)))}


@given(st.dictionaries(_TEXT, _VALUES, max_size=5), st.sampled_from(["", "# a [comment] = 1\n", "\n\n"]))
def test_every_key_of_any_document_has_a_line(value: dict[str, Any], head: str):
    """The keys with a line are exactly the keys that the TOML parser finds."""
    text = head + tomlkit.dumps(value)

    lines = toml_lines.find(text)

    assert set(lines) == _paths(tomllib.loads(text))


def test_each_form_of_key_has_the_line_it_stands_on():
    """Tables, arrays of tables, dotted and quoted keys, inline tables and multi-line values are told apart."""
    text = '''# first
name = "a"
"quoted [key]" = 1
text = """
not = "a key"
[nor.a.table]
"""
list = [
  1, # one, ]
  { x = "}", y.z = 2 },
]

[env.staging]
vars.DEPTH = 'its'

[[d1_databases]]
binding = "A"
[[d1_databases]]
binding = "B"
[d1_databases.more]
deep = 1
[env."two words".vars]
K = 1
'''

    lines = toml_lines.find(text)

    assert tomllib.loads(text)["env"]["staging"] == {"vars": {"DEPTH": "its"}}
    expected = {
        ("name",): 2,
        ("quoted [key]",): 3,
        ("text",): 4,
        ("list",): 8,
        ("list", 0): 9,
        ("list", 1): 10,
        ("list", 1, "x"): 10,
        ("list", 1, "y", "z"): 10,
        ("env", "staging"): 13,
        ("env", "staging", "vars", "DEPTH"): 14,
        ("d1_databases", 0): 16,
        ("d1_databases", 0, "binding"): 17,
        ("d1_databases", 1): 18,
        ("d1_databases", 1, "binding"): 19,
        ("d1_databases", 1, "more", "deep"): 21,
        ("env", "two words", "vars", "K"): 23,
    }
    assert {path: lines[path] for path in expected} == expected
