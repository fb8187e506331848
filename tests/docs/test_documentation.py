"""What the documentation names is there: commands and their options, files, functions, and what the README promises."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from clodo.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
HAND_WRITTEN = [page for page in PAGES if page.name != "cli.md"]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#]+)(#[^)]*)?\)")


def commands_named_in(text: str) -> Iterator[list[str]]:
    """Give the words of each ``clodo …`` that stands in inline code or is typed in a fenced block."""
    typed = [line.strip().removeprefix("$ ") for block in FENCE.findall(text) for line in block.splitlines()]
    quoted = CODE.findall(FENCE.sub("", text))
    for words in [*typed, *quoted]:
        for call in re.findall(r"(?:^|&& |uv run )clodo( .+)", words):
            yield call.split(" #")[0].split()


def command_called(words: list[str]) -> tuple[object, list[str]]:
    """Follow *words* as far as they name commands; return the last one, and the words that are left."""
    command = get_command(app)
    context = command.make_context("clodo", ["demo"], resilient_parsing=True)
    while words and hasattr(command, "get_command"):
        if words[0].startswith("-"):
            words = words[1:]
            continue
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r} in `{command.name}`"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page):
    """Commands, their subcommands and their options stand in the documentation as they are."""
    for words in commands_named_in(page.read_text()):
        if not words[0][0].isalpha() or not words[0].islower():
            continue  # `clodo --debug COMMAND`, `clodo …`
        command, left = command_called(words)
        known = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
        known |= {"--help", "--workspace", "-w", "--debug"}
        for word in left:
            if word.startswith("-"):
                assert word.split("=")[0] in known, f"{page.name}: clodo {' '.join(words)}"


def test_the_search_for_commands_finds_some():
    """The test above looks at something."""
    found = [words[0] for words in commands_named_in((ROOT / "README.md").read_text())]

    assert {"demo", "portfolio", "deploy", "rollback"} <= set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    """Relative links name files that are there."""
    for target, _ in LINK.findall(page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page):
    """Folders and files of the source that stand in inline code are there."""
    rooms = (
        "clodo/",
        "flows/",
        "tasks/",
        "blocks/",
        "deployments/",
        "tests/",
        "docs/",
        "script/",
        "benchmarks/",
        ".ci/",
    )
    for code in CODE.findall(FENCE.sub("", page.read_text())):
        for word in code.split():
            if word.startswith((*rooms, "constraints/")) and "…" not in word and "*" not in word:
                assert (ROOT / word).exists(), f"{page.name}: {word}"


def test_every_function_of_the_lifecycle_is_where_it_says():
    """docs/lifecycle.md names functions and files that have them."""
    text = (ROOT / "docs" / "lifecycle.md").read_text()
    named = re.findall(r"`([A-Za-z_.]+)` in \[[a-z_]+\.py\]\(\.\./([a-z_/]+\.py)\)", text)
    release = [(name, "clodo/releases/release.py") for name in re.findall(r"`(Release\.[a-z_]+)`", text)]

    assert len(named) >= 8
    assert len(release) >= 8
    for name, path in [*named, *release]:
        last = name.rpartition(".")[2]
        pattern = rf"^\s*(?:def|class) {last}\b|^{last}\b.*="
        assert re.search(pattern, (ROOT / path).read_text(), re.MULTILINE), f"{name} is not in {path}"


def test_the_readme_begins_with_the_two_commands_and_stays_short():
    """A newcomer types what stands in the first block; the page fits on a screen or two."""
    text = (ROOT / "README.md").read_text()
    first = FENCE.findall(text)[0].splitlines()[1:-1]

    assert [line.split("  ")[0] for line in first] == [
        'pip install uv && uv run --python "$(command -v python3)" clodo demo',
        "uv run pytest",
    ]
    assert len(text.splitlines()) <= 60


def test_every_room_is_on_the_tour():
    """docs/source-code.md tells what is in each folder of the source."""
    tour = (ROOT / "docs" / "source-code.md").read_text()
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {path.split("/")[0] for path in tracked.splitlines() if "/" in path} - {"docs", "script"}
    rooms = {"/".join(path.split("/")[:2]) for path in tracked.splitlines() if re.match(r"clodo/\w+/\w+\.py", path)}

    for folder in (folders - {"clodo"}) | rooms:
        assert f"`{folder}/`" in tour, folder


@pytest.mark.parametrize(
    "script", ["script/setup", "script/test", "script/lint", "script/update-constraints", ".ci/run"]
)
def test_scripts_can_be_run(script):
    """What CONTRIBUTING.md says to type is executable, and bash understands it."""
    path = ROOT / script

    assert os.access(path, os.X_OK)
    if path.read_text().startswith("#!/usr/bin/env bash"):
        subprocess.run(["bash", "-n", str(path)], check=True)


def test_the_changelog_tells_of_what_is_not_yet_released():
    """CHANGELOG.md keeps to its form."""
    text = (ROOT / "CHANGELOG.md").read_text()

    assert "## [Unreleased]" in text
    assert "### Added" in text
