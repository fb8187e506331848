"""Env files: read strictly, changed line by line."""

from __future__ import annotations

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.errors import BadConfiguration, BadUsage
from clodo.workspace.editing import apply
from clodo.workspace.env_files import edit_env, read_env, write_env

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=20).filter(
    lambda text: text.isprintable() and "${" not in text
)


def test_names_values_and_lines_are_read(tmp_path):
    """Quotes, `export`, comments, blank lines, a byte order mark and CRLF; the line is that of the name."""
    file = tmp_path / "a.env"
    file.write_bytes("\ufeff# one\r\n\r\nexport A='x y'\r\nB=\"z\"  # two\r\nC=${B}/c\r\nD=\r\n".encode())

    read = read_env(file)

    assert read.values == {"A": "x y", "B": "z", "C": "z/c", "D": ""}
    assert read.lines == {"A": 3, "B": 4, "C": 5, "D": 6}


@pytest.mark.parametrize(
    ("content", "place", "what"),
    [
        (b"A=1\nB", "2", "no NAME=value"),
        (b"A='unfinished\n", "1", "no NAME=value"),
        (b"A=1\n\nA=2\n", "3", '"A" is given twice, first on line 1'),
        (b"A=\xff\xfe\n", "1", "not UTF-8"),
        (b"1A=2\n", "1", "can't be a name"),
        (b"A=${HOME}\n", "1", "not given above"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path, content, place, what):
    """Half-written, twice, no text, no name, the environment: one sentence with file:line, and no value."""
    file = tmp_path / "a.env"
    file.write_bytes(content)

    with pytest.raises(BadConfiguration) as refused:
        read_env(file)

    assert refused.value.message.startswith(f"{file}:{place}: ")
    assert what in refused.value.message
    assert "unfinished" not in refused.value.message


def test_an_edit_keeps_everything_else(tmp_path):
    """Comments, order, line ends, mark, `export` and a missing newline at the end stay; the rest is as meant."""
    file = tmp_path / "a.env"
    file.write_bytes("\ufeff# who\r\nexport DOMAIN='old.example'  # where\r\n\r\nGONE=1\r\nKEPT= x".encode())

    edit = edit_env(
        file, {"CUSTOMER_DOMAIN": "new.example", "GONE": None, "MORE": "a b"}, renamed={"DOMAIN": "CUSTOMER_DOMAIN"}
    )
    apply([edit])

    assert file.read_bytes() == (
        "\ufeff# who\r\nexport CUSTOMER_DOMAIN=new.example\r\n\r\nKEPT= x\r\nMORE='a b'\r\n".encode()
    )
    assert read_env(file).values == {"CUSTOMER_DOMAIN": "new.example", "KEPT": "x", "MORE": "a b"}


def test_a_rename_alone_changes_the_name_alone(tmp_path):
    """The value, its quotes and its comment stay."""
    file = tmp_path / "a.env"
    file.write_text('DOMAIN = "DOMAIN=x" # DOMAIN\n')

    edit = edit_env(file, {}, renamed={"DOMAIN": "CUSTOMER_DOMAIN"})

    assert edit.after == b'CUSTOMER_DOMAIN = "DOMAIN=x" # DOMAIN\n'


def test_a_value_of_several_lines_is_refused():
    """It could smuggle in a setting."""
    with pytest.raises(BadUsage, match="one line"):
        write_env({"A": "1\nB=2"})


@settings(max_examples=10)
@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory, values):
    """By us and by python-dotenv."""
    file = tmp_path_factory.mktemp("env") / "a.env"
    file.write_text(write_env(values), encoding="utf-8")

    assert dict(read_env(file).values) == values
    assert dotenv_values(file, interpolate=False) == values


@settings(max_examples=10)
@given(st.dictionaries(NAMES, VALUES, max_size=5), st.dictionaries(NAMES, st.none() | VALUES, max_size=3))
def test_an_edit_says_what_was_meant(tmp_path_factory, values, changes):
    """Old values but those that change."""
    file = tmp_path_factory.mktemp("env") / "a.env"
    file.write_text("# top\n" + write_env(values), encoding="utf-8")

    apply([edit_env(file, changes)])

    wanted = {name: value for name, value in {**values, **changes}.items() if value is not None}
    assert dict(read_env(file).values) == wanted
