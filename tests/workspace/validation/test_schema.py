"""wrangler's own schema knows every key, and says nothing against what wrangler takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from clodo.errors import ToolchainMissing
from clodo.workspace.documents import read_document
from clodo.workspace.validation import ConfigSchema
from clodo.wrangler.toolchain import Toolchain, config_schema
from tests.workspace.editing.corpus import FILES
from tests.workspace.folders import write


@pytest.fixture(scope="module")
def schema(toolchain: Toolchain) -> ConfigSchema:
    return ConfigSchema.read(config_schema(toolchain))


def test_no_config_of_the_corpus_breaks_the_schema(schema):
    """Seventy-odd configs that wrangler takes have no findings: there are no false alarms."""
    found = [(file.name, item.message) for file in FILES for item in schema.findings(read_document(file))]

    assert found == []


@pytest.mark.parametrize(
    ("config", "line", "message"),
    [
        ('name = "a"\nworkers_dev = "yes"\n', 2, '"workers_dev" must be true or false'),
        ('name = "a"\n\n[env.staging]\nminify = 1\n', 4, '"env.staging.minify" must be true or false'),
        ('name = "a"\n[placement]\nmode = "clever"\n', 3, '"placement.mode"'),
        ('name = "a"\n[[r2_buckets]]\nbucket_name = "b"\n', 2, '"r2_buckets.0" lacks "binding"'),
        ('name = "a"\n[[queues.consumers]]\nqueue = "q"\nmax_batch = 3\n', 4, '"max_batch".*did you mean "max_batch'),
        ('name = "a"\n[build]\ncommand = "x"\naccount_id = "y"\n', 4, 'unknown key "account_id" in "build"'),
        ('name = "a"\nroutes = [{ pattern = "x/*", zone = "y" }]\n', 2, "routes.0"),
    ],
)
def test_what_breaks_the_schema_is_said_with_its_line(schema, tmp_path, config, line, message):
    """A wrong type, word, missing or unknown key has its line, and no value is quoted but the schema's own."""
    import re

    write(tmp_path, {"wrangler.toml": config})

    found = list(schema.findings(read_document(tmp_path / "wrangler.toml")))

    assert any(item.line == line and re.search(message, item.message) for item in found), found
    assert not any("clever" in item.message or "yes" in item.message for item in found)


def test_without_a_schema_it_says_what_to_do(tmp_path):
    """A wrangler that isn't installed, or has no schema, is one sentence."""
    (tmp_path / "broken.json").write_text("{")

    for name in ("missing.json", "broken.json"):
        with pytest.raises(ToolchainMissing, match="can't be read"):
            ConfigSchema.read(Path(tmp_path / name))
