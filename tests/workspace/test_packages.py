"""npm workspaces and the user's own packages."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clodo.errors import BadConfiguration
from clodo.workspace.packages import local_dependencies, members_of, read_package, workspace_around
from tests.workspace.folders import write

_FOLDERS = ["a", "b", "a/x", "a/y", "a/x/deep", "apps/web", "apps/web/node_modules/z", "apps/größe"]
_PARTS = st.sampled_from(["*", "**", "a", "b", "x", "deep", "apps", "we*", "?", "größe"])
_PATTERNS = st.builds(
    lambda negated, dotted, parts, slash: f"{negated}{dotted}{'/'.join(parts)}{slash}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "./"]),
    st.lists(_PARTS, min_size=1, max_size=3).filter(lambda parts: parts.count("**") < 2),
    st.sampled_from(["", "/"]),
)


@settings(deadline=None, max_examples=80)
@given(st.lists(_PATTERNS, min_size=1, max_size=4))
def test_a_member_finds_its_workspace_exactly_when_the_workspace_finds_it(patterns: list[str]):
    """Looking down from the root and up from a folder agree for any patterns, negated and deep ones too."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name).resolve()
        write(top, {f"{folder}/package.json": {"name": folder} for folder in _FOLDERS})
        write(top, {"package.json": {"workspaces": patterns}})
        root = read_package(top)
        assert root is not None

        members = {member.folder for member in members_of(root) if member.folder != top}

        assert members == {top / folder for folder in _FOLDERS if workspace_around(top / folder, top) is not None}
        assert not any("node_modules" in member.parts for member in members)


def test_own_packages_are_found_installed_or_not(tmp_path: Path):
    """Members, file: and link: packages and hand-made links are the user's own; a registry's and pnpm's are not."""
    write(
        tmp_path,
        {
            "package.json": {"workspaces": {"packages": ["packages/*"]}},
            "packages/app/package.json": {
                "name": "app",
                "dependencies": {
                    "linked": "*",
                    "fresh": "*",
                    "registry": "1",
                    "near": "file:../../near/",
                    "stored": "1",
                },
                "devDependencies": {"gone": "link:../../gone"},
                "peerDependencies": {"by-hand": "*"},
            },
            "packages/linked/package.json": {"name": "linked"},
            "packages/fresh/package.json": {"name": "fresh"},
            "packages/registry/package.json": {"name": "registry"},
            "near/package.json": {},
            "elsewhere/package.json": {"name": "by-hand"},
            "node_modules/registry/package.json": {"name": "registry"},
            "node_modules/.pnpm/stored/package.json": {"name": "stored"},
        },
    )
    for name, target in {
        "linked": "packages/linked",
        "by-hand": "elsewhere",
        "stored": "node_modules/.pnpm/stored",
    }.items():
        (tmp_path / "node_modules" / name).symlink_to(tmp_path / target)
    app = read_package(tmp_path / "packages/app")
    assert app is not None

    folders = local_dependencies(app, tmp_path)

    assert [folder.relative_to(tmp_path).as_posix() for folder in folders] == [
        "elsewhere", "near", "packages/fresh", "packages/linked",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"workspaces": "packages/*"}', 'package.json:2: "workspaces" must be a list'),
        ('{\n\n"scripts": []}', None),
        ('{\n\n"scripts": ["x"]}', 'package.json:3: "scripts" must be an object'),
    ],
)
def test_a_package_json_of_another_shape_is_refused_with_its_line(tmp_path: Path, text: str, message: str | None):
    """What npm would choke on is told before npm is started."""
    write(tmp_path, {"package.json": text})

    if message is None:
        package = read_package(tmp_path)
        assert package is not None
        assert package.scripts == {}
        return
    with pytest.raises(BadConfiguration) as caught:
        read_package(tmp_path)
    assert message in caught.value.message
