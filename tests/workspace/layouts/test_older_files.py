"""Older files count where a service says nothing, keep their places, and can be moved into the wrangler configs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clodo.errors import AmbiguousName, BadConfiguration, TargetNotFound
from clodo.workspace.documents import read_document
from clodo.workspace.editing import apply
from clodo.workspace.effective_values import effective_values
from clodo.workspace.layouts.base_files import LayerReader, not_applied
from clodo.workspace.layouts.domains_file import read_domains_file
from clodo.workspace.layouts.migration import plan_migration
from clodo.workspace.workspace import Workspace
from tests.workspace.folders import write

MESSY = Path(__file__).parents[1] / "samples" / "messy"
ACCOUNT = "0123456789abcdef0123456789abcdef"

API = """\
name = "api"
main = "index.js"

[vars]
LEVEL = "own"

[env.staging]
"""
BASE = f"""\
name = "not this one"
compatibility_date = "2026-01-01"
account_id = "{ACCOUNT}"

[observability]
enabled = true
"""
PORTFOLIO = "[environments.production]\n[environments.staging]\n"
DOMAINS = """\
export const domains = {
  shop: {
    accountId: '0123456789abcdef0123456789abcdef',
    zoneId: 'fedcba9876543210fedcba9876543210',
    domains: {
      production: 'Shop.Example.com',
      staging: `staging.shop.example.com`,
      development: 'dev.shop.example.com',
      preview: process.env.PREVIEW_HOST,
    },
    databases: [{ name: 'orders', id: '11111111-2222-3333-4444-555555555555' }],
  },
};
export default domains;
"""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A workspace of one service whose settings are spread over all older files."""
    return write(
        tmp_path,
        {
            "portfolio.toml": PORTFOLIO,
            "api/wrangler.toml": API,
            "api/index.js": "export default {}",
            "config/base/wrangler.base.toml": BASE,
            "config/base/variables.base.env": "# all\nLEVEL=base\nREGION='weur' # where\n",
            "config/environments/staging.toml": '[vars]\nLEVEL = "staging"\n',
        },
    )


def values(root: Path, target: str) -> dict[str, tuple[object, str]]:
    workspace = Workspace.load(root)
    found = effective_values(workspace, workspace.find(target))
    return {value.path: (value.value, value.place.removeprefix(f"{root}/")) for value in found}


def test_the_service_counts_first_then_the_environment_then_the_base(older):
    """Each value is the nearest one, and says which file and line it comes from."""
    production, staging = values(older, "api"), values(older, "api@staging")

    assert production["vars.LEVEL"] == ("own", "api/wrangler.toml:5")
    assert production["vars.REGION"] == ("weur", "config/base/variables.base.env:3")
    assert staging["vars.LEVEL"] == ("staging", "config/environments/staging.toml:2")
    assert staging["vars.REGION"] == ("weur", "config/base/variables.base.env:3")
    assert staging["compatibility_date"] == ("2026-01-01", "config/base/wrangler.base.toml:2")
    assert staging["observability.enabled"] == (True, "config/base/wrangler.base.toml:6")
    assert staging["name"] == ("api-staging", "api/wrangler.toml:1")


def test_what_a_release_uses_is_the_merged_config(older):
    """Rendering and hashing see what older files say, since that is what was meant to be deployed."""
    workspace = Workspace.load(older)

    effective = workspace.effective(workspace.find("api@staging"))

    assert effective.account_id == ACCOUNT
    assert effective.variables == {"LEVEL": "staging", "REGION": "weur"}
    assert effective.raw["compatibility_date"] == "2026-01-01"


def test_the_files_in_a_services_own_folder_come_before_the_workspaces(older):
    """A service may have its own config/base, which is nearer."""
    write(older, {"api/config/base/variables.base.env": "REGION=enam\n"})

    assert values(older, "api")["vars.REGION"] == ("enam", "api/config/base/variables.base.env:1")


def test_a_key_of_production_that_others_would_inherit_is_left_out_and_said(older):
    """Production at the top level is what staging inherits from; what is for production alone can't go there."""
    write(older, {"config/environments/production.toml": 'workers_dev = false\n[vars]\nONLY = "production"\n'})

    production, staging = values(older, "api"), values(older, "api@staging")

    assert production["vars.ONLY"][0] == "production"
    assert "vars.ONLY" not in staging
    assert "workers_dev" not in production
    document = read_document(older / "api" / "wrangler.toml")
    ((place, what),) = not_applied(document, LayerReader(older).of(older / "api"))
    assert place.endswith("production.toml:1")
    assert '"workers_dev" is not taken' in what


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("config/base/wrangler.base.toml", "x = \n", 1),
        ("config/environments/staging.toml", "[vars]\nA = 1\nA = 2\n", 3),
        ("config/base/variables.base.env", "A=1\nnot a variable\n", 2),
        ("config/base/variables.base.env", "A=1\nB=2\nA=3\n", 3),
    ],
)
def test_a_broken_older_file_is_named_with_its_line(older, file, text, line):
    """Half-written TOML and env files stop everything with one sentence."""
    write(older, {file: text})

    with pytest.raises(BadConfiguration, match=rf"{file}:{line}: "):
        Workspace.load(older)


def test_a_domains_file_is_understood_without_running_it(tmp_path):
    """Hostnames, account, zone and databases are read; what is computed is said with its line."""
    write(tmp_path, {"domains.js": DOMAINS})

    said = read_domains_file(tmp_path / "domains.js")

    (domain,) = said.domains
    assert {name: host.value for name, host in domain.hosts.items()} == {
        "production": "shop.example.com",
        "staging": "staging.shop.example.com",
        "development": "dev.shop.example.com",
    }
    assert domain.account_id is not None
    assert (domain.account_id.value, domain.account_id.place) == (ACCOUNT, f"{tmp_path}/domains.js:3")
    assert [database.place for database in domain.databases.values()] == [f"{tmp_path}/domains.js:11"]
    ((place, what),) = said.computed
    assert place.endswith("domains.js:9")
    assert what == '"domains.shop.domains.preview" is computed, and so not known without running the file'


def test_a_hostname_names_its_target(older):
    """By a route or by domains.js; one that several serve, or nobody, is one sentence."""
    write(older, {"api/src/config/domains.js": DOMAINS})
    route = 'routes = ["*.other.example/*", "www.other.example/x/*"]\n'
    write(older, {"web/wrangler.toml": f'name = "web"\n{route}[env.staging]\n'})
    workspace = Workspace.load(older)

    assert str(workspace.find("Shop.example.com")) == "api@production"
    assert str(workspace.find("staging.shop.example.com")) == "api@staging"
    with pytest.raises(AmbiguousName, match="web@production, web@staging"):
        workspace.find("www.other.example")
    for unknown in ("nobody.example.com", "shop.example.com@staging", "dev.shop.example.com"):
        with pytest.raises(TargetNotFound):
            workspace.find(unknown)


def test_a_domains_file_that_cannot_be_read_stops_nothing_but_the_search_in_it(older):
    """Releases don't need it: the target is still there and its values say so; only a host nobody else names fails."""
    write(older, {"api/src/config/domains.js": "export const domains = {\n"})
    write(older, {"web/wrangler.toml": 'name = "web"\nroutes = ["www.example/*"]\n'})

    assert values(older, "api")["domains"] == ("can't be read: a { is never closed", "api/src/config/domains.js:2")
    assert str(Workspace.load(older).find("www.example")) == "web@production"
    with pytest.raises(BadConfiguration, match=r"domains\.js:2: a { is never closed"):
        Workspace.load(older).find("shop.example.com")


def migrate(root: Path) -> tuple[str, ...]:
    plan = plan_migration(root)
    apply(plan.edits)
    return plan.notes


def test_migration_moves_everything_and_changes_nothing_that_is_meant(older):
    """Afterwards the wrangler config alone says what all files said before; the older ones are gone."""
    before = {
        target: {path: value for path, (value, _) in values(older, target).items()} for target in ("api", "api@staging")
    }

    notes = migrate(older)

    after = {
        target: {path: value for path, (value, _) in values(older, target).items()} for target in ("api", "api@staging")
    }
    assert after == before
    assert notes == ()
    assert not list(older.glob("config/*/*"))
    text = (older / "api" / "wrangler.toml").read_text()
    assert text.startswith('name = "api"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\n')
    assert not plan_migration(older).has_changes


def test_migration_turns_hostnames_into_routes_and_says_what_it_left(older):
    """Each environment gets a route for its hostname; a missing environment and a computed value are notes."""
    write(older, {"api/src/config/domains.js": DOMAINS})
    database = '\n[[d1_databases]]\nbinding = "DB"\ndatabase_name = "orders"\n'
    (older / "api" / "wrangler.toml").write_text(API + database)

    notes = migrate(older)

    found = values(older, "api")
    assert found["routes.shop.example.com/*.zone_id"][0] == "fedcba9876543210fedcba9876543210"
    assert found["d1_databases.DB.database_id"][0] == "11111111-2222-3333-4444-555555555555"
    assert "routes.staging.shop.example.com/*.pattern" in values(older, "api@staging")
    assert any("dev.shop.example.com is left out" in note for note in notes)
    assert any("is computed" in note for note in notes)
    assert (older / "api/src/config/domains.js").is_file()
    assert not plan_migration(older).has_changes


def test_nodejs_compat_becomes_the_flag_it_was_meant_to_be(tmp_path):
    """A key that wrangler ignores becomes the compatibility flag."""
    write(tmp_path, {"wrangler.toml": 'name = "a"\nnodejs_compat = true # for Buffer\ncompatibility_flags = ["x"]\n'})

    migrate(tmp_path)

    assert (tmp_path / "wrangler.toml").read_text() == 'name = "a"\ncompatibility_flags = ["x", "nodejs_compat"]\n'


@pytest.mark.exhaustive
def test_the_messy_sample_migrates_and_means_the_same(tmp_path):
    """Thirty services keep their values through the migration, but for the routes that domains.js adds."""
    root = tmp_path / "messy"
    shutil.copytree(MESSY, root)
    before = Workspace.load(root)

    migrate(root)

    after = Workspace.load(root)
    assert after.targets == before.targets
    ignored = {"routes", "compatibility_flags"}
    for target in after.targets:
        one, other = before.effective(target).raw, after.effective(target).raw
        assert {key: one[key] for key in one if key not in ignored} == {
            key: other[key] for key in other if key not in ignored
        }, target
    assert not plan_migration(root).has_changes
