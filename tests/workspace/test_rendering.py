"""The config that wrangler is given, and that real wrangler makes the same of it as of the user's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from clodo.errors import BadConfiguration
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.rendering import render_config, write_rendered
from clodo.workspace.wrangler_config import WranglerConfig, find_config
from tests.workspace.folders import effective, write
from tests.workspace.samples import SAMPLES

ACCOUNT = "0123456789abcdef0123456789abcdef"
DATABASE = "11111111-2222-3333-4444-555555555555"
NAMESPACE = "fedcba9876543210fedcba9876543210"


def render(config: EffectiveConfig, destination: Path, **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "account_id": ACCOUNT,
        "database_ids": {"shop": DATABASE},
        "namespace_ids": {"CACHE": NAMESPACE},
        "workers_dev": False,
        "preview_urls": True,
        **options,
    }
    return render_config(config, destination=destination, **settings)


EVERYTHING = """
name = "api"
main = "src/index.ts"
base_dir = "src"
compatibility_date = "2026-01-01"
tsconfig = "tsconfig.json"
route = "shop.example/*"
workers_dev = true
keep_vars = true
addresses = ["a@shop.example"]
alias = { near = "./src/near.ts", far = "far-package" }

[triggers]
crons = ["0 * * * *"]
[build]
command = "make"
[dev]
port = 1
[site]
bucket = "public"
[text_blobs]
NOTE = "notes/note.txt"
[vars]
LEVEL = "info"

[[d1_databases]]
binding = "DB"
database_name = "shop"
database_id = "old"
migrations_dir = "migrations"

[[kv_namespaces]]
binding = "CACHE"
id = "own"

[[queues.producers]]
binding = "JOBS"
queue = "jobs"
[[queues.consumers]]
queue = "jobs"

[[containers]]
class_name = "Box"
image = "docker/Dockerfile"
[[containers]]
class_name = "Other"
image = "registry.example/x:1"

[env.staging]
"""


def test_the_rendered_config_is_flat_final_and_without_triggers(tmp_path: Path):
    """Names and ids are resolved, paths lead to the user's files, and nothing that is no part of a version is left."""
    service, destination = tmp_path / "services" / "api", tmp_path / ".clodo" / "x"
    write(service, {"docker/Dockerfile": "FROM scratch"})

    rendered = render(effective(service, EVERYTHING), destination)

    assert rendered == {
        "account_id": ACCOUNT,
        "alias": {"near": f"{service}/src/near.ts", "far": "far-package"},
        "base_dir": f"{service}/src",
        "compatibility_date": "2026-01-01",
        "containers": [
            {"class_name": "Box", "image": f"{service}/docker/Dockerfile"},
            {"class_name": "Other", "image": "registry.example/x:1"},
        ],
        "d1_databases": [
            {
                "binding": "DB",
                "database_name": "shop",
                "database_id": DATABASE,
                "migrations_dir": "../../services/api/migrations",
            }
        ],
        "keep_vars": True,
        "kv_namespaces": [{"binding": "CACHE", "id": NAMESPACE}],
        "main": f"{service}/src/index.ts",
        "name": "api",
        "preview_urls": True,
        "queues": {"producers": [{"binding": "JOBS", "queue": "jobs"}]},
        "send_metrics": False,
        "site": {"bucket": "../../services/api/public"},
        "text_blobs": {"NOTE": "../../services/api/notes/note.txt"},
        "tsconfig": "../../services/api/tsconfig.json",
        "vars": {"LEVEL": "info"},
        "workers_dev": False,
    }


def test_consumers_stay_when_asked_and_the_users_values_are_not_touched(tmp_path: Path):
    """Rendering twice gives the same; the effective config is not changed by it."""
    config = effective(tmp_path, EVERYTHING)
    before = json.dumps(config.raw, default=str)

    first, second = (render(config, tmp_path / "x", queue_consumers=True) for _ in range(2))

    assert first == second
    assert first["queues"]["consumers"] == [{"queue": "jobs"}]
    assert json.dumps(config.raw, default=str) == before


def test_an_environment_is_rendered_with_its_final_name(tmp_path: Path):
    """The Worker's name is that of the environment; bindings of the top level are gone."""
    config = WranglerConfig.read(write(tmp_path, {"wrangler.toml": EVERYTHING}) / "wrangler.toml")

    rendered = render(config.for_environment("staging"), tmp_path / "x")

    assert rendered["name"] == "api-staging"
    assert not {"d1_databases", "kv_namespaces", "vars", "containers", "env"} & rendered.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('compatibility_date = "2026-01-01"\n', 'neither "main" nor "assets"'),
        ('main = "a.js"\n', 'no "compatibility_date"'),
        (
            'main = "a.js"\ncompatibility_date = "2026-01-01"\n[[d1_databases]]\nbinding = "X"\ndatabase_name = "y"\n',
            ':4: nobody knows the id of the D1 database "y"',
        ),
        (
            'main = "a.js"\ncompatibility_date = "2026-01-01"\n[[kv_namespaces]]\nbinding = "X"\n',
            ':4: nobody knows the id of the KV namespace bound as "X"',
        ),
        (
            'main = "a.js"\ncompatibility_date = "2026-01-01"\n[limits]\nsince = 2026-01-01\n',
            ':5: "since" is a date',
        ),
        ('main = "a.js"\ncompatibility_date = "2026-01-01"\n[vars]\nX = inf\n', ':5: "X" is not a finite number'),
    ],
)
def test_what_cannot_be_uploaded_is_refused_with_its_place(tmp_path: Path, text: str, message: str):
    """A missing entry point, date or id, and a value JSON can't say, are told before wrangler starts."""
    with pytest.raises(BadConfiguration) as caught:
        render(effective(tmp_path, f'name = "api"\n{text}'), tmp_path / "x")

    assert message in caught.value.message
    assert caught.value.message.startswith(f"{tmp_path}/wrangler.toml:")


def test_writing_replaces_what_was_there_and_links_the_packages(tmp_path: Path):
    """The second writing wins, links follow what the service has, and nothing else is left in the folder."""
    service, folder = tmp_path / "api", tmp_path / "x"
    write(service, {"package.json": "{}", "node_modules/a/package.json": "{}"})

    write_rendered({"name": "old"}, folder, service_folder=service)
    (service / "package.json").unlink()
    file = write_rendered({"name": "ä"}, folder, service_folder=service)

    assert json.loads(file.read_text(encoding="utf-8")) == {"name": "ä"}
    assert (folder / "node_modules").resolve() == service / "node_modules"
    assert sorted(item.name for item in folder.iterdir()) == ["node_modules", "wrangler.json"]


_COMMENT = re.compile(rb"^\s*//.*$", re.MULTILINE)
_WROTE = ("README.md", ".map")


def bundle(toolchain: Any, folder: Path, output: Path, *arguments: str) -> dict[str, bytes]:
    """Run ``wrangler deploy --dry-run`` in *folder* and return the modules, without comments (which hold paths)."""
    done = subprocess.run(
        [toolchain.node, "--no-warnings", toolchain.wrangler, "deploy", "--dry-run", f"--outdir={output}", *arguments],
        cwd=folder,
        env={
            "PATH": os.defpath,
            "HOME": str(output.parent),
            "CI": "true",
            "NO_COLOR": "1",
            "WRANGLER_SEND_METRICS": "false",
            "WRANGLER_HIDE_BANNER": "true",
            "WRANGLER_WRITE_LOGS": "false",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    files = [file for file in sorted(output.rglob("*")) if file.is_file() and not file.name.endswith(_WROTE)]
    return {file.relative_to(output).as_posix(): _COMMENT.sub(b"", file.read_bytes()) for file in files}


def compare_bundles(toolchain: Any, tmp_path: Path, sample: str) -> None:
    workspace = tmp_path / "w s é"
    service = write(workspace / "services", {"api/.keep": ""}) / "api"
    write(service, SAMPLES[sample])
    file = find_config(service)
    assert file is not None
    config = WranglerConfig.read(file).for_environment("production")
    destination = workspace / ".clodo" / "rendered" / "api"
    rendered = write_rendered(render(config, destination), destination, service_folder=service)

    ours = bundle(toolchain, destination, tmp_path / "ours", "--config", str(rendered), "--env=")
    theirs = bundle(toolchain, service, tmp_path / "theirs", f"--env={config.section or ''}")

    # esbuild names lazily run modules by their path from the config's folder; the name is a label, nothing reads it.
    back = b"../../../services/api/"
    assert ours
    assert {name: content.replace(back, b"") for name, content in ours.items()} == theirs
    assert sorted(item.name for item in service.parent.parent.iterdir()) == [".clodo", "services"]


def test_wrangler_makes_the_same_bundle_of_the_rendered_config(toolchain: Any, tmp_path: Path):
    """TypeScript, JSX, path aliases, packages, text modules and polyfills come out byte for byte, comments excepted."""
    compare_bundles(toolchain, tmp_path, "typescript")


@pytest.mark.exhaustive
@pytest.mark.parametrize("sample", sorted(SAMPLES))
def test_wrangler_makes_the_same_bundle_of_every_sample(toolchain: Any, tmp_path: Path, sample: str):
    """Each kind of service comes out the same from its own and from the rendered config."""
    compare_bundles(toolchain, tmp_path, sample)
