"""What workerd is told."""

from __future__ import annotations

import ast
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.runtime.assets import compose
from clodo.emulator.runtime.bindings.databases import parameter, statements_of
from clodo.emulator.runtime.configuration import Entrypoint, clamp_date, module_kind, quote, render
from clodo.emulator.runtime.ports import Module, ScriptInvalid, StatementFailed
from clodo.emulator.runtime.processes import MAX_SOCKET_PATH_BYTES

NEWEST = date(2026, 11, 17)


@given(st.binary(max_size=200))
def test_any_bytes_can_be_quoted(data: bytes) -> None:
    """Any bytes come back from their quoted form, which is printable ASCII without a bare quote inside."""
    text = quote(data)

    assert ast.literal_eval("b" + text) == data
    assert re.fullmatch(r'"[ !#-\[\]-~\\]*"', text)


def test_values_are_rendered_in_capnps_text_form() -> None:
    """Structs, lists, numbers and booleans are written in Cap'n Proto's text form; None is left out."""
    assert render({"a": 1, "b": [True, "x"], "c": None, "d": {}}) == '(a = 1, b = [true,\n "x"], d = ())'


@pytest.mark.parametrize(
    ("asked", "used", "is_warned"),
    [("", "2021-11-02", False), ("2026-11-17", "2026-11-17", False), ("2026-11-18", "2026-11-17", True)],
)
def test_dates_beyond_workerd_are_clamped(asked: str, used: str, is_warned: bool) -> None:
    """A missing date is Cloudflare's oldest, one that workerd doesn't know its newest, with a warning."""
    day, warning = clamp_date(asked, NEWEST)

    assert (day, warning is not None) == (used, is_warned)


def test_unknown_module_types_are_refused(tmp_path: Path) -> None:
    """A module of unknown type is refused with its name; source maps are simply not part of the script."""
    assert module_kind(Module("a.map", "application/source-map", tmp_path)) is None
    with pytest.raises(ScriptInvalid, match=r"application/x-what of a\.what"):
        module_kind(Module("a.what", "application/x-what", tmp_path))


@given(st.text(min_size=1, max_size=200))
def test_socket_names_stay_short(name: str) -> None:
    """However long an entrypoint's name is, its socket's path fits into what systems take."""
    assert len(f"/tmp/clodo-12345678/ffff/{Entrypoint(99, name).socket}") < MAX_SOCKET_PATH_BYTES


def test_assets_are_composed_once_and_whole(tmp_path: Path) -> None:
    """A folder of assets holds exactly the files, is made once, and leaves nothing half-made behind."""
    blob = tmp_path / "blob"
    blob.write_text("content")
    folder = tmp_path / "made" / "site"

    compose({"/a/b.txt": blob, "/c.txt": blob}, folder)
    compose({"/other.txt": blob}, folder)

    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.txt")) == ["a/b.txt", "c.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["site"]
    with pytest.raises(ScriptInvalid, match="in the way"):
        compose({"/a": blob, "/a/b": blob}, tmp_path / "made" / "clash")


def test_bound_values_arrive_as_the_store_takes_them() -> None:
    """Booleans become numbers, arrays of numbers blobs; objects are refused in D1's words."""
    body = b'{"sql": "SELECT ?", "params": [true, [0, 255], null, 1.5, "x"]}'

    assert statements_of(body)[0].params == [1, b"\x00\xff", None, 1.5, "x"]
    for wrong in ({"a": 1}, [256], ["x"]):
        with pytest.raises(StatementFailed, match="not supported"):
            parameter(wrong)
