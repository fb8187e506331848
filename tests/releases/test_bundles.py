"""Bundles that name their sources from different folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from clodo.releases.bundles import is_same_code, seen_from
from clodo.wrangler.uploads import Module

ESM, MAP = "application/javascript+module", "application/source-map"
CODE = """\
var __name = 1;

// {root}src/index.js
import text from "./abc-a.txt";
var require_lib = __commonJS({{
  "{root}src/lib.cjs"(exports, module) {{
    module.exports = 1;
  }}
}});
var note = `
// src/nowhere.js
  "quoted"(
`;
//# sourceMappingURL=index.js.map
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Where ours is bundled, and where theirs is."""
    service, rendered = tmp_path / "shop", tmp_path / ".clodo" / "rendered" / "shop"
    rendered.mkdir(parents=True)
    (service / "src").mkdir(parents=True)
    for name in ("index.js", "lib.cjs"):
        (service / "src" / name).write_text("")
    return rendered, service


def test_sources_are_named_as_from_the_services_own_folder(folders):
    """Comments and labels of files that exist are renamed; whatever else looks like them is not."""
    ours = CODE.format(root="../../../shop/").encode()

    assert seen_from(ours, *folders) == CODE.format(root="").encode()


def test_code_is_the_same_wherever_it_was_bundled(folders):
    """The same sources, named from here or from there, with or without a source map, are the same code."""
    rendered, service = folders
    ours = [
        Module("index.js", ESM, CODE.format(root="../../../shop/").encode()),
        Module("index.js.map", MAP, b"{}"),
        Module("./abc-a.txt", "text/plain", b"// ../../../shop/src/index.js"),
    ]
    text = {"./abc-a.txt": b"// ../../../shop/src/index.js"}
    from_there = {"index.js": CODE.format(root="").encode(), **text}
    with_map = {**from_there, "index.js.map": b"{other}"}
    from_here = {"index.js": ours[0].content, **text}

    for theirs in (from_there, with_map, from_here):
        assert is_same_code(theirs, ours, ours_from=rendered, theirs_from=service)


@pytest.mark.parametrize(
    "changed",
    [
        {"index.js": CODE.format(root="").replace("exports = 1", "exports = 2").encode()},
        {"index.js": CODE.format(root="").replace("src/nowhere.js", "src/index.js").encode()},
        {"index.js": CODE.format(root="").replace("src/index.js", "src/lib.cjs").encode()},
        {"more.js": b""},
    ],
)
def test_any_other_difference_is_one(folders, changed):
    """Code, text that looks like a comment, another file's name, one module more: each is another code."""
    rendered, service = folders
    ours = [Module("index.js", ESM, CODE.format(root="../../../shop/").encode())]
    theirs = {"index.js": CODE.format(root="").encode()}
    assert is_same_code(theirs, ours, ours_from=rendered, theirs_from=service)

    assert not is_same_code({**theirs, **changed}, ours, ours_from=rendered, theirs_from=service)
