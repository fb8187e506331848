"""docs/cli.md says what the commands say, and the commands say how they end."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def _generator() -> Any:
    found = importlib.util.spec_from_file_location("write_cli", ROOT / "docs" / "write_cli.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


WRITE_CLI = _generator()
HELP = {
    path: command.get_help(context)
    for path, command, context in WRITE_CLI.commands(WRITE_CLI.get_command(WRITE_CLI.app), "clodo", None)
    if not hasattr(command, "list_commands")
}


def test_the_page_is_current():
    """Whoever changes a command's help runs `python docs/write_cli.py` too."""
    assert (ROOT / "docs" / "cli.md").read_text() == WRITE_CLI.text()


@pytest.mark.parametrize("path", sorted(HELP))
def test_every_command_says_how_it_ends(path):
    """Each command's help lists the exit statuses it can give, and the shape of its JSON if it has one."""
    said = HELP[path]

    assert "Exit status:" in said
    if "--json" in said.partition("Options:")[2]:
        assert "With --json" in said.partition("Options:")[0] or "with --json" in said.partition("Options:")[0].lower()


def test_the_commands_of_the_first_release_are_there():
    """What the specification promises for now is what there is."""
    promised = {
        "clodo demo",
        "clodo up",
        "clodo down",
        "clodo emulator start",
        "clodo emulator status",
        "clodo emulator reset",
        "clodo deploy",
        "clodo portfolio plan",
        "clodo portfolio deploy",
        "clodo portfolio status",
        "clodo portfolio graph",
        "clodo rollback",
        "clodo release list",
        "clodo release show",
        "clodo release resume",
        "clodo database migrate",
        "clodo database status",
    }

    assert promised <= set(HELP)
