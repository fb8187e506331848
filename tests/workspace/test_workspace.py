"""The workspace as a whole."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from clodo.errors import BadConfiguration, ServicesFormACycle, TargetNotFound
from clodo.workspace import Target, Workspace, find_root, list_targets
from tests.workspace.folders import write


def shop(root: Path) -> Path:
    return write(
        root,
        {
            "portfolio.toml": """
[portfolio]
default_environment = "staging"
[environments.staging]
account = "test"
[environments.production]
account = "live"
protected = true
[services.web]
needs = ["mail"]
[services.mail]
environments = ["production"]
""",
            "services/auth/wrangler.toml": 'name = "auth"\nmain = "a.js"\n[env.staging]\n',
            "services/api/wrangler.jsonc": {
                "name": "api",
                "main": "a.js",
                "services": [{"binding": "AUTH", "service": "auth"}],
                "env": {"staging": {"services": [{"binding": "AUTH", "service": "auth-staging"}]}},
                "routes": ["shop.example/*"],
            },
            "web/wrangler.toml": """
name = "web"
main = "a.js"
services = [{ binding = "API", service = "api" }, { binding = "BANK", service = "bank" }]
[env.staging]
[env.unused]
""",
            "mail/wrangler.toml": 'name = "mail"\nmain = "a.js"\n[env.staging]\n',
        },
    )


def test_targets_are_the_services_in_the_environments_they_know(tmp_path: Path):
    """Every service in every environment of the portfolio that its config has, unless the portfolio chooses."""
    workspace = Workspace.load(shop(tmp_path))

    assert [str(target) for target in workspace.targets] == [
        "api@production", "api@staging", "auth@production", "auth@staging", "mail@production", "web@production",
        "web@staging",
    ]  # fmt: skip
    assert workspace.find("api") == Target("api", "staging")
    assert workspace.effective(Target("api", "staging")).worker_name == "api-staging"
    assert workspace.effective(Target("api", "production")).worker_name == "api"
    with pytest.raises(TargetNotFound):
        workspace.effective(Target("mail", "staging"))


def test_dependencies_come_from_bindings_in_the_same_environment_and_from_needs(tmp_path: Path):
    """Bindings are resolved by Worker name, needs by service; strangers are listed."""
    graph = Workspace.load(shop(tmp_path)).graph()

    assert [(str(link.target), str(link.needed), link.because) for link in graph.dependencies] == [
        ("api@production", "auth@production", "service binding AUTH"),
        ("api@staging", "auth@staging", "service binding AUTH"),
        ("web@production", "api@production", "service binding API"),
        ("web@production", "mail@production", "needs"),
    ]
    assert [(str(other.target), other.worker) for other in graph.outsiders] == [("web@production", "bank")]


def test_a_circle_names_file_and_line(tmp_path: Path):
    """A circle through a binding and a need is told as one, with the place of its first link."""
    shop(tmp_path)
    write(tmp_path, {"mail/wrangler.toml": 'name = "mail"\nmain = "a.js"\nservices = [{binding="W", service="web"}]\n'})

    with pytest.raises(ServicesFormACycle) as caught:
        Workspace.load(tmp_path).graph()

    assert caught.value.message == (
        f"{tmp_path}/mail/wrangler.toml:3: services need each other in a circle:"
        " mail@production → web@production → mail@production"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"portfolio.toml": "[services.ap]\n"}, ':1: no service is called "ap" (did you mean "api"?)'),
        ({"portfolio.toml": '[services.api]\nneeds = ["auht"]\n'}, ':2: no service is called "auht"'),
        ({"portfolio.toml": '[services.api]\nneeds = ["api"]\n'}, ':2: "api" can\'t need itself'),
        (
            {"portfolio.toml": '[environments.x]\n[services.web]\nenvironments = ["x"]\n'},
            'web has no environment "x"',
        ),
        ({"other/wrangler.toml": 'name = "auth-staging"\nmain = "x"\n'}, None),
        (
            {
                "portfolio.toml": "[environments.production]\n[environments.staging]\n",
                "other/wrangler.toml": 'name = "auth-staging"\nmain = "x"\n',
            },
            'auth-staging@production becomes the Worker "auth-staging", which auth@staging',
        ),
    ],
)
def test_contradictions_between_files_are_refused(tmp_path: Path, files: dict[str, str], message: str | None):
    """Unknown services, missing environments and two targets on one Worker of one account are told with their place."""
    shop(tmp_path)
    write(tmp_path, {**files})

    if message is None:
        # Two Workers of one name on two accounts are two Workers.
        assert Target("auth-staging", "production") in Workspace.load(tmp_path).targets
        return
    with pytest.raises(BadConfiguration) as caught:
        Workspace.load(tmp_path)
    assert message in caught.value.message
    assert caught.value.message.startswith(str(tmp_path))


def test_the_root_is_found_from_any_folder_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """portfolio.toml marks the root; without one .clodo does; without either the folder itself is it."""
    root = shop(tmp_path / "shop")
    below = root / "services" / "api"

    assert find_root(below) == root
    (root / "portfolio.toml").unlink()
    assert find_root(below) == below
    (root / ".clodo").mkdir()
    assert find_root(below) == root
    monkeypatch.chdir(below)
    assert Workspace.load().root == root


def test_the_default_portfolio_is_every_service_in_production(tmp_path: Path):
    """Without portfolio.toml there is one environment, served by the block `default`."""
    shop(tmp_path)
    (tmp_path / "portfolio.toml").unlink()

    workspace = Workspace.load(tmp_path)

    assert [str(target) for target in workspace.targets] == [
        "api@production", "auth@production", "mail@production", "web@production",
    ]  # fmt: skip
    assert workspace.portfolio.account_block_of(workspace.targets[0]) == "default"


def test_a_folder_without_services_says_what_is_missing(tmp_path: Path):
    """Loading an empty folder names it and what would make a service."""
    with pytest.raises(BadConfiguration, match="no service here"):
        Workspace.load(tmp_path)


def test_the_state_folder_is_its_owners_alone_and_ignored_by_git(tmp_path: Path):
    """.clodo is made at first use with mode 0700 and a .gitignore of everything; a second look changes nothing."""
    workspace = Workspace.load(shop(tmp_path))
    assert not (tmp_path / ".clodo").exists()

    folder = workspace.state_dir

    assert folder == tmp_path / ".clodo"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text(encoding="utf-8") == "*\n"
    (folder / ".gitignore").write_text("mine\n", encoding="utf-8")
    assert workspace.state_dir == folder
    assert (folder / ".gitignore").read_text(encoding="utf-8") == "mine\n"


def test_targets_are_listed_as_rows(tmp_path: Path):
    """A row says what a target becomes, where that is written and who serves it."""
    rows = {str(row.target): row for row in list_targets(Workspace.load(shop(tmp_path)))}

    staging = rows["api@staging"]
    assert (staging.worker, staging.section, staging.account_block) == ("api-staging", "env.staging", "test")
    assert (staging.file, staging.services) == ("services/api/wrangler.jsonc", ("auth-staging",))
    assert (rows["api@production"].section, rows["api@production"].is_protected) == ("top level", True)
    assert rows["api@production"].routes == ("shop.example/*",)
    assert rows["api@production"].secrets_block == "api-production"
