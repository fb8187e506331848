"""What is left of wrangler's output: no escapes, no secrets, the records it wrote and the reason it gave."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clodo.wrangler.output import MASK, Masker, code_in, error_text, plain, read_records

values = some.text(some.characters(exclude_categories=["Cs", "Cc"]), min_size=4, max_size=30).filter(
    lambda value: value.strip() == value and MASK not in value and value not in MASK
)


@given(values, some.text(max_size=10), some.text(max_size=10))
def test_a_secret_never_passes_in_any_form(secret: str, before: str, after: str) -> None:
    """As it is, inside JSON, or inside a URL: the value is taken out."""
    for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe="")):
        assert form not in Masker([secret]).mask(f"{before}{form}{after}").replace(MASK, "\0")


def test_a_secret_inside_another_hides_neither() -> None:
    """The longer of two secrets is taken out first."""
    assert Masker(["abcd", "abcdefgh"]).mask("abcdefgh abcd") == f"{MASK} {MASK}"


def test_each_line_of_a_long_secret_is_masked() -> None:
    """A key of several lines is printed line by line, so each line is a secret."""
    assert Masker(["-----BEGIN\nMIIB\n-----END"]).mask("got MIIB.") == f"got {MASK}."


def test_a_short_secret_is_masked_as_a_word_only() -> None:
    """A value of one or two letters would make all text unreadable."""
    assert Masker(["1", ""]).mask("1 of 10") == f"{MASK} of 10"


def test_escapes_are_taken_out() -> None:
    """Colours, cursor movements and links leave the text alone."""
    assert plain("\x1b[31m✘ \x1b[41;31m[\x1b[0mERROR]\x1b]8;;http://x\x07 link\x1b[2K") == "✘ [ERROR] link"


def test_records_survive_a_crash_in_mid_line(tmp_path: Path) -> None:
    """A last line that was cut off is left out; no file is no records."""
    file = tmp_path / "output.ndjson"
    assert read_records(file) == ()

    file.write_text('{"type":"wrangler-session"}\n[1]\n{"type":"deploy"}\n{"type":"comm')

    assert [record["type"] for record in read_records(file)] == ["wrangler-session", "deploy"]


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (
            ["", "✘ [ERROR] A failed.", "", "  because [code: 7]", "", "🪵  Logs were written"],
            "A failed. because [code: 7]",
        ),
        (["▲ [WARNING] odd", "  detail", "✘ [ERROR] Really", "▲ [WARNING] more"], "Really"),
        (["just this", ""], "just this"),
        ([], ""),
    ],
    ids=["box", "after a warning", "no box", "nothing"],
)
def test_the_reason_is_read_from_the_error_box(stderr: list[str], said: str) -> None:
    """The first error box is the reason, as one line; without one it is the last line."""
    assert error_text(stderr) == said


def test_the_code_is_read_from_prose() -> None:
    """Cloudflare's number stands in brackets."""
    assert code_in("bad [code: 10021]") == 10021
    assert code_in("bad") is None
