"""Services are found wherever they are, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clodo.errors import BadConfiguration, ServiceNotFound
from clodo.workspace.services import discover, find_service
from tests.workspace.folders import write


def test_services_are_found_by_their_configs_name_wherever_they_are(tmp_path: Path):
    """The folder's name says nothing; spaces, umlauts, depth and the kind of file don't matter."""
    write(
        tmp_path,
        {
            "wrangler.toml": 'name = "root"',
            "dienste/größe und maß/wrangler.jsonc": {"name": "size"},
            "a/b/c/d/wrangler.json": {"name": "deep"},
        },
    )

    services = discover(tmp_path)

    assert [service.name for service in services] == ["deep", "root", "size"]
    assert services[2].folder == tmp_path / "dienste/größe und maß"


def test_folders_of_packages_and_tools_are_skipped(tmp_path: Path):
    """A config inside node_modules, .git, .wrangler, .clodo or dist is nobody's service."""
    write(
        tmp_path,
        {f"{folder}/x/wrangler.toml": "broken [" for folder in ("node_modules", ".git", ".wrangler", ".clodo", "dist")},
    )
    write(tmp_path, {"api/wrangler.toml": 'name = "api"', "api/node_modules/x/wrangler.toml": "broken ["})

    assert [service.name for service in discover(tmp_path)] == ["api"]


def test_links_in_a_circle_end(tmp_path: Path):
    """A folder that is linked into itself, and one that is linked twice, are each seen once."""
    write(tmp_path, {"services/api/wrangler.toml": 'name = "api"'})
    (tmp_path / "services/api/loop").symlink_to(tmp_path / "services")
    (tmp_path / "again").symlink_to(tmp_path / "services/api")

    assert [service.name for service in discover(tmp_path)] == ["api"]


def test_two_services_of_one_name_are_refused_with_both_places(tmp_path: Path):
    """The error names both files and lines."""
    write(tmp_path, {"a/wrangler.toml": 'name = "api"', "b/wrangler.jsonc": '{\n  "name": "api"\n}'})

    with pytest.raises(BadConfiguration) as caught:
        discover(tmp_path)

    assert caught.value.message == (
        f'{tmp_path}/b/wrangler.jsonc:2: the name "api" is taken by {tmp_path}/a/wrangler.toml:1'
    )


def test_an_unknown_service_names_the_nearest(tmp_path: Path):
    """A service that is not there is exit status 10 and a suggestion."""
    write(tmp_path, {"a/wrangler.toml": 'name = "payments"'})

    with pytest.raises(ServiceNotFound) as caught:
        find_service("payment", discover(tmp_path))

    assert caught.value.hint == "Did you mean payments?"


def test_a_folder_that_can_not_be_read_just_now_is_no_empty_one(tmp_path: Path):
    """A process without a file handle left says so, instead of releasing a workspace without its services."""
    write(tmp_path, {"api/wrangler.toml": 'name = "api"\n'})
    code = (
        "import os, resource, sys; from pathlib import Path; from clodo.errors import Failed;"
        "from clodo.workspace.services import discover; assert discover(Path(sys.argv[1]));"
        "handles = [os.dup(0) for _ in range(9)];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (handles[-1] + 1, handles[-1] + 1))\n"
        "try: discover(Path(sys.argv[1]))\n"
        "except Failed as error: print(error.message)"
    )

    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)

    assert ended.stdout == f"{tmp_path}: can't be read (Too many open files), so a service in it would be missed\n"
