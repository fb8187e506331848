"""JSON with comments: what is read, where it stands, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.workspace import jsonc

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(_VALUES, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_reads_whatever_json_writes(value: Any, indent: int | str | None, ascii_only: bool):
    """Every JSON text is read as the standard library reads it."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    read, _ = jsonc.parse(text)

    assert read == value
    assert repr(read) == repr(json.loads(text))


@given(st.dictionaries(st.text(), _VALUES, max_size=6))
def test_comments_and_trailing_commas_change_nothing(value: dict[str, Any]):
    """Comments between lines and a comma before each closing bracket leave the values as they are."""
    lines = json.dumps(value, indent=1).split("\n")
    text = ""
    for line in lines:
        if line.strip() in ("}", "]", "},", "],") and not text.rstrip("\n /*x").endswith(("{", "[", ",")):
            text = text.rstrip("\n") + " /* x */ ,\n"
        text += f'// {{ "a": [ \n{line}\n/* "b": 1 \n */'

    read, _ = jsonc.parse(text)

    assert read == value


def _paths(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in items for path in ((*at, key), *_paths(inner, (*at, key)))]


@given(st.dictionaries(st.text(min_size=1), _VALUES, max_size=6))
def test_every_key_has_the_line_it_stands_on(value: dict[str, Any]):
    """The line noted for a key is a line that opens with this key."""
    text = json.dumps(value, indent=1, ensure_ascii=True)
    lines = text.split("\n")

    _, places = jsonc.parse(text)

    assert set(places) == set(_paths(value))
    for path, line in places.items():
        if isinstance(path[-1], str):
            assert lines[line - 1].strip().startswith(json.dumps(path[-1]) + ":")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('{\n"a": 1\n"b": 2}', 3, 'expected "," or "}"'),
        ('{\n"a" 1}', 2, 'expected ":" after "a"'),
        ("{\n\na: 1}", 3, "expected a key in double quotes"),
        ('{"a": 1,\n\n"a": 2}', 3, '"a" is given twice; the first is on line 1'),
        ('{"a": "x\ny"}', 1, "a string is never closed"),
        ('{"a":\n "\\q"}', 2, "unknown escape"),
        ('{"a":\n\t"\t"}', 2, "must be written as an escape"),
        ('{"a":\n /* never', 2, "never closed"),
        ('{"a": 1}\n}', 2, "after the end"),
        ('{"a": tru}', 1, "found 'tru'"),
        ('{"a": ', 1, "a value is missing"),
        ("", 1, "a value is missing"),
        ('{"a": 01}', 1, 'expected "," or "}"'),
        ('{"a": NaN}', 1, "expected a value"),
        ('{"a": "\\ud800"}', 1, "surrogate"),
        ("[" * 200, 1, "nested more than 100 deep"),
        ("{,}", 1, "expected a key"),
    ],
)
def test_what_is_not_json_is_refused_with_its_line(text: str, line: int, what: str):
    """A syntax fault says the line and what was expected."""
    with pytest.raises(jsonc.SyntaxFault) as caught:
        jsonc.parse(text)

    assert caught.value.line == line
    assert what in caught.value.what


@given(st.text(alphabet='{}[]",:/*\\ntrue1 \n', max_size=40))
def test_any_text_is_read_or_refused(text: str):
    """No text makes the reader fail in any other way than by a syntax fault, and what JSON reads it reads alike."""
    try:
        read, _ = jsonc.parse(text)
    except jsonc.SyntaxFault:
        with pytest.raises(ValueError):
            _strictly(text)
        return
    try:
        expected = _strictly(text)
    except ValueError:
        return
    assert read == expected


def _strictly(text: str) -> Any:
    def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("twins")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=without_twins)
