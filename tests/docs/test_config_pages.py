"""docs/config.md documents every key and rule with examples that hold; the migration guide is carried out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from clodo.workspace.documents import read_document
from clodo.workspace.inheritance import INHERITED, NOT_INHERITED, TOP_LEVEL_ONLY
from clodo.workspace.validation import ConfigSchema, config_findings
from clodo.workspace.wrangler_config import WranglerConfig
from clodo.wrangler.toolchain import Toolchain, config_schema
from tests.docs import transcripts
from tests.workspace.folders import write

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "docs" / "config.md"
MIGRATING = ROOT / "docs" / "migrating-old-layouts.md"
SOURCES = {"src/index.js": "export default { fetch: () => new Response('hi') };\n"}


def section(page: str, title: str) -> str:
    return page.partition(f"### {title}\n")[2].partition("\n#")[0]


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("Keys that an environment inherits", INHERITED),
        ("Keys that each environment says for itself", NOT_INHERITED),
        ("Keys of the top level alone", TOP_LEVEL_ONLY),
    ],
)
def test_every_key_is_documented_where_it_belongs(title, keys):
    """Each key that wrangler knows stands under the rule of inheritance that holds for it."""
    documented = section(CONFIG.read_text(), title)

    assert [key for key in keys if f"`{key}`" not in documented] == []


def test_every_rule_of_validation_is_documented():
    """The names of rules in the source are those of the table, none is missing and none is left over."""
    table = CONFIG.read_text().partition("## What is wrong?")[2].partition("```toml")[0]
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))

    assert documented == rules_in_the_source()


def rules_in_the_source() -> set[str]:
    """Find the words that findings are made with."""
    found: set[str] = set()
    folder = ROOT / "clodo" / "workspace"
    for file in [*(folder / "validation").glob("*.py"), folder / "inheritance.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"Finding": 1, "finding_of": 1, "_finding": 2, "Warned": 2}.get(node.func.id)
                if place is not None and len(node.args) > place and isinstance(node.args[place], ast.Constant):
                    found.add(node.args[place].value)
    return found


def test_the_two_examples_say_the_same_and_nothing_is_wrong_with_them(tmp_path, toolchain: Toolchain):
    """TOML and JSONC of the page are one config; rules and wrangler's schema have nothing to say against it."""
    page = CONFIG.read_text()
    transcripts.write_files(page, tmp_path)
    for folder in ("api", "api-as-json"):
        write(tmp_path / folder, dict(SOURCES))
    toml, jsonc = (WranglerConfig.read(tmp_path / name) for name in ("api/wrangler.toml", "api-as-json/wrangler.jsonc"))
    schema = ConfigSchema.read(config_schema(toolchain))

    assert toml.document.data == jsonc.document.data
    for config in (toml, jsonc):
        assert list(config_findings(config, tmp_path)) == []
        assert list(schema.findings(read_document(config.file))) == []


def test_the_pages_commands_print_what_the_page_says(tmp_path, capsys, toolchain: Toolchain):
    """Each command of docs/config.md is run on the files of the page."""
    page = CONFIG.read_text()
    transcripts.write_files(page, tmp_path)
    write(tmp_path / "api", dict(SOURCES))
    # The second way to write it would be a second service of the same name.
    (tmp_path / "api-as-json" / "wrangler.jsonc").unlink()
    # What is wrong on purpose comes last, as on the page.
    commands = list(transcripts.commands_of(page))

    printed = [(command.line, transcripts.run(command, tmp_path, capsys)) for command in commands]

    assert printed == [(command.line, command.printed) for command in commands]


def test_the_migration_guide_is_carried_out(tmp_path, capsys):
    """Each command of the guide is run in order; what it prints and what the files hold then is what the guide says."""
    page = MIGRATING.read_text()
    transcripts.write_files(page, tmp_path)
    write(tmp_path / "shop", dict(SOURCES))
    commands = list(transcripts.commands_of(page))

    printed = [(command.line, transcripts.run(command, tmp_path, capsys)) for command in commands]

    assert len(commands) >= 5
    assert printed == [(command.line, command.printed) for command in commands]
    assert not (tmp_path / "config").exists() or not list((tmp_path / "config").rglob("*.*"))
