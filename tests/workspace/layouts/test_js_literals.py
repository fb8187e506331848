"""JavaScript is read, never run: literals as they are, everything else reported."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.workspace.layouts.js_literals import NotReadable, read

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_json_is_javascript(value):
    """Whatever JSON can say is read with the same meaning, wherever a line breaks."""
    # JSON may hold line separators that a string of JavaScript holds too.
    for text in (json.dumps(value), json.dumps(value, indent=1)):
        module = read(f"export default {text};\nexport const b = 1")

        assert module.values == {"default": value, "b": 1}
        assert not module.computed


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="{}[]()'\"`$,:;=\\/*\n \tabcexport const.1", max_size=60))
def test_any_text_ends_in_values_or_one_sentence(text):
    """However broken the text, reading ends, and with nothing but its own error."""
    lines = text.count("\n") + 1

    with contextlib.suppress(NotReadable):
        module = read("const a = " + text)

        assert all(1 <= item.line <= lines for item in module.computed)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'it\\'s'", "it's"),
        ('"\\u00e9\\x41\\u{1F680}"', "éA🚀"),
        ("`plain\n  two lines`", "plain\n  two lines"),
        ("`no \\${hole}`", "no ${hole}"),
        ("-1.5e3", -1500.0),
        ("0xff", 255),
        ("1_000", 1000),
        ("undefined", None),
        ("[1, 2,]", [1, 2]),
        ("{ a: 1, 'b-c': 2, \"d\": 3, 4: 5, }", {"a": 1, "b-c": 2, "d": 3, "4": 5}),
        ("{ // one\n a: 1 /* two */ , /* , } */\n}", {"a": 1}),
        ("Object.freeze({ a: [true] })", {"a": [True]}),
    ],
)
def test_literals_are_read(written, value):
    """Each way to write a literal has its value, with or without a semicolon."""
    for end in (";", "\n", ""):
        assert read(f"export const x = {written}{end}").values == {"x": value}


@pytest.mark.parametrize(
    "written",
    [
        "process.env.TOKEN || 'the-token'",
        "`https://${host}`",
        "'a' + b",
        "fn({ a: 1 })",
        "() => ({ a: 1 })",
        "new Map([[1, 2]])",
        "condition ? 'a' : 'b'",
        "[1, 2].map(x => x)",
        "{ a: 1 }.a",
        "other",
        "/regular,expression/",
        "function () { return { a: ',' } }",
    ],
)
def test_what_would_have_to_be_run_is_reported_and_not_guessed(written):
    """A computed value is left out with its line; its neighbours are read, and nothing of it is quoted."""
    module = read(f"// first\nconst x = {{\n  before: 1,\n  here: {written},\n  after: 2,\n}};\n")

    assert module.values == {"x": {"before": 1, "after": 2}}
    assert [(item.path, item.line, item.what) for item in module.computed] == [(("x", "here"), 4, "is computed")]


@pytest.mark.parametrize("written", ["...rest", "[key]: 1", "short", "method() { return 1; }", "get a() { return 1; }"])
def test_members_without_a_plain_key_and_value_are_reported(written):
    """Spreads, computed keys, shorthands and methods are reported; the rest of the object is read."""
    module = read(f"const x = {{ a: 1, {written}, b: 2 }}")

    assert module.values["x"]["b"] == 2
    assert module.computed


def test_a_constant_that_is_changed_later_is_reported():
    """What code further down assigns to is no longer what the literal says."""
    for change in ("x.a = 2;", "x['a'].b = 2", "Object.assign(x, y);", "if (z) { x.a = 1 }"):
        module = read(f"const x = {{ a: 1 }};\n{change}\n")

        assert [(item.path, item.what) for item in module.computed] == [(("x",), "is changed by code further down")]


def test_code_between_constants_is_passed_over():
    """Imports, functions and classes are no constants, and hide none; brackets in strings don't count."""
    module = read(
        "import { y } from './y.js';\nconst a = 1\nfunction f(x) { const b = `}${x ? '{' : `}`}`; return b }\n"
        "class C { m() { return '}' } }\nif (a) { f('(') }\nexport const c = [ 'd' ]\nexport default c;\n"
    )

    assert module.values == {"a": 1, "c": ["d"], "default": ["d"]}
    assert module.lines["c", 0] == 6
    assert not module.computed


def test_a_key_given_twice_is_reported():
    """JavaScript takes the last one; nobody meant that."""
    module = read("const x = { a: 1,\n a: 2 }")

    assert module.values == {"x": {"a": 2}}
    assert [(item.line, item.what) for item in module.computed] == [(2, "is given twice, and the last one counts")]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("const a = {\n", 2, "a { is never closed"),
        ("const a = [1,\n2", 2, "a [ is never closed"),
        ("\nconst a = 'x\n'", 2, "a string is never closed"),
        ("const a = `x", 1, "a string is never closed"),
        ("/* x", 1, "a comment that opens with /* is never closed"),
        ("const a = f(", 1, "a bracket is never closed"),
        ("const a = " + "[" * 200, 1, "nested more than 100 deep"),
    ],
)
def test_a_broken_file_is_one_sentence(text, line, what):
    """What is never closed is named with its line."""
    with pytest.raises(NotReadable, match=what.replace("[", r"\[").replace("*", r"\*")) as raised:
        read(text)

    assert raised.value.line == line
