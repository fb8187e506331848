"""`clodo customer` without an account: made, listed, shown, changed and taken away, as files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clodo.ledger import Ledger, default_path
from clodo.workspace.env_files import read_env
from clodo.workspace.workspace import Workspace
from tests.customers.fleet import CODE, CONFIG, Fleet
from tests.workspace.folders import write

MESSY = Path(__file__).parents[1] / "workspace" / "samples" / "messy"
ACME = "config/customers/acme/production.env"


@pytest.fixture
def fleet(tmp_path, capsys) -> Fleet:
    """A workspace with one service and templates; no account, no server."""
    templates = {
        "base.env": "CUSTOMER_ID={{CUSTOMER_NAME}}\nCUSTOMER_DOMAIN={{DOMAIN}}\nFEATURE_NEW=false\n",
        "production.env": "API_URL=https://api.{{ DOMAIN }}/v1\nFEATURE_NEW=true\n",
        "customer.env": "ZONE={{ZONE_ID}}\n",
    }
    write(tmp_path, {"api/wrangler.toml": CONFIG, "api/index.js": CODE})
    write(tmp_path, {f"config/templates/{name}": text for name, text in templates.items()})
    return Fleet(tmp_path, None, "default", capsys)  # type: ignore[arg-type]


def make(fleet: Fleet, *more: str, status: int = 0) -> str:
    """Make acme."""
    words = ("customer", "create", "acme", "--domain", "acme.example", "--service", "api", "--yes", *more)
    return fleet.said(*words, status=status)


def test_a_customer_is_made_from_templates_with_a_section_of_its_own(fleet):
    """Base, environment, customer; the section has the environment's bindings; notes name what is open or shared."""
    said = make(fleet, "--database", "acme-db", "--set", "PLAN=gold rush")

    target = fleet.workspace.find("api@production/acme")
    config = fleet.workspace.effective(target)
    assert read_env(fleet.folder / ACME).values == {
        "CUSTOMER_ID": "acme",
        "CUSTOMER_DOMAIN": "acme.example",
        "FEATURE_NEW": "true",
        "API_URL": "https://api.acme.example/v1",
        "PLAN": "gold rush",
    }
    assert "ZONE has no value, because nobody gave ZONE_ID" in said
    assert "shares the KV namespace CACHE with api@production" in said
    assert (config.databases[0].binding, config.databases[0].database_name) == ("DB", "acme-db")
    assert config.databases[0].migrations_folder == fleet.folder / "api/sql"
    assert [route.pattern for route in config.routes] == ["acme.example/*"]
    assert config.namespaces[0].binding == "CACHE"
    assert config.variables["LEVEL"] == "info"
    assert (fleet.folder / "api/wrangler.toml").read_text().startswith(CONFIG)
    with Ledger.open(default_path(fleet.folder)) as ledger:
        (row,) = ledger.audit.list(subject="acme")
    assert (row.action, row.detail["files"]) == ("customer-created", [ACME, "api/wrangler.toml"])


def test_everything_about_a_customer_is_listed_and_shown(fleet):
    """All six pieces with their places; ids whole in JSON and short in the table; what is effective with origins."""
    uuid, zone = "11112222-3333-4444-5555-666677778888", "ab" * 16
    make(fleet, "--database", "acme-db", "--database-id", uuid, "--zone-id", zone, "--account-id", "cd" * 16)

    (row,) = fleet.told("customer", "list", "--no-tokens")
    table = fleet.said("customer", "list", "--no-tokens")
    shown = fleet.told("customer", "show", "acme")["deployments"][0]

    assert row["account_id"] == {"value": "cd" * 16, "place": f"{fleet.folder}/api/wrangler.toml:6"}
    assert (row["zone_id"]["value"], row["database_id"]["value"]) == (zone, uuid)
    assert (row["domain"]["value"], row["domain"]["place"]) == ("acme.example", f"{fleet.folder}/{ACME}:3")
    assert (row["database_name"]["value"], row["token"], row["token_block"]) == ("acme-db", "not asked", "default")
    assert "abababab " in table
    assert zone not in table
    values = {value["path"]: value for value in shown["values"]}
    assert values["vars.API_URL"]["place"].startswith(f"{fleet.folder}/{ACME}:")
    assert values["vars.LEVEL"]["place"].startswith(f"{fleet.folder}/api/wrangler.toml:")


def test_the_command_that_deploys_a_customer_is_printed(fleet):
    """As words that a shell takes; nobody's is 10."""
    make(fleet)

    assert fleet.said("customer", "deploy-command", "acme") == "clodo deploy api@production/acme\n"
    assert "did you mean" in fleet.said("customer", "deploy-command", "acmee", status=10)


def test_a_domain_moves_with_its_routes_and_addresses(fleet):
    """And nothing else does: a name that only ends like it stays."""
    make(fleet, "--zone-id", "ab" * 16, "--set", "OTHER=https://notacme.example")

    fleet.said("customer", "update", "acme", "--domain", "new.example", "--unset", "FEATURE_NEW", "--yes")

    config = fleet.workspace.effective(fleet.workspace.find("api@production/acme"))
    assert read_env(fleet.folder / ACME).values == {
        "CUSTOMER_ID": "acme",
        "CUSTOMER_DOMAIN": "new.example",
        "API_URL": "https://api.new.example/v1",
        "ZONE": "ab" * 16,
        "OTHER": "https://notacme.example",
    }
    assert [(route.pattern, route.zone_id) for route in config.routes] == [("new.example/*", None)]


def test_a_customer_is_taken_away_without_a_trace_in_the_files(fleet):
    """Bytes as before it was made; what stays on Cloudflare is said; a dry run tells by its status."""
    before = fleet.files()
    make(fleet, "--database", "acme-db")

    pending = fleet.told("customer", "remove", "acme", "--dry-run", "--exit-code", status=5)
    declined = fleet.said("customer", "remove", "acme", status=4)
    fleet.said("customer", "remove", "acme", "--yes")

    assert pending["targets"] == ["api@production/acme"]
    assert "the Worker api-acme-production stays" in declined
    assert "the D1 database acme-db stays" in declined
    assert fleet.files() == before


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("../evil", "--domain", "a.example", "--service", "api"), "can't be the name"),
        (("Acme", "--domain", "a.example", "--service", "api"), "can't be the name"),
        (("a--b", "--domain", "a.example", "--service", "api"), "can't be the name"),
        (("a" * 31, "--domain", "a.example", "--service", "api"), "at most 30"),
        (("templates", "--domain", "a.example", "--service", "api"), "another meaning"),
        (("acme", "--domain", "https://a.example/x", "--service", "api"), "no domain name"),
        (("acme", "--domain", "a.example"), "no service"),
        (("acme", "--domain", "a.example", "--service", "api", "-e", "prod"), "no environment prod"),
        (("acme", "--domain", "a.example", "--service", "api", "--set", "A"), "NAME=VALUE"),
        (("acme", "--domain", "a.example", "--service", "api", "--set", "CACHE=x"), "name of a binding"),
        (("acme", "--service", "api"), "--domain is not given"),
        (("acme", "--domain", "a.example", "--service", "api", "--database", "a", "--no-database"), "one of them"),
    ],
)
def test_what_can_not_be_a_customer_is_refused_and_nothing_is_written(fleet, words, what):
    """One sentence, status 2, and every file as it was."""
    before = fleet.files()

    said = fleet.said("customer", "create", *words, "--yes", status=2)

    assert what in said
    assert fleet.files() == before


def test_a_customer_that_is_there_is_not_made_again(fleet):
    """The hint names the command that changes it; a Worker of the same name is another's, and is refused."""
    make(fleet)
    again = make(fleet, status=2)
    config = 'name = "api-globex-production"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\n'
    write(fleet.folder, {"other/wrangler.toml": config, "other/index.js": CODE})
    before = fleet.files()

    clash = fleet.said("customer", "create", "globex", "--domain", "g.example", "--service", "api", "--yes", status=2)

    assert "clodo customer update acme" in again
    assert "api-globex-production" in clash
    assert fleet.files() == before


@pytest.mark.parametrize(
    ("template", "what"),
    [("A={{DOMIAN}}\n", "{{DOMIAN}} (did you mean"), ("A={{DOMAIN}\n", "half a placeholder"), ("A\n", "NAME=value")],
)
def test_a_template_that_is_wrong_is_refused_with_its_line(fleet, template, what):
    """An unknown placeholder, half of one, no setting."""
    write(fleet.folder, {"config/templates/base.env": template})

    said = make(fleet, status=2)

    assert "config/templates/base.env:1" in said
    assert what in said
    assert not (fleet.folder / ACME).exists()


def test_two_people_editing_do_not_overwrite_each_other(fleet):
    """Somebody saves the config between the diff and the writing: refused, and theirs stays."""
    from clodo.customers.planning import NewCustomer, plan_creation
    from clodo.errors import PlanIsStale

    workspace = fleet.workspace
    plan = plan_creation(workspace, NewCustomer("acme", "production", "acme.example", ("api",)))
    config = fleet.folder / "api/wrangler.toml"
    config.write_text(config.read_text() + "# theirs\n")
    before = fleet.files()

    with pytest.raises(PlanIsStale), plan.written(workspace):
        pass

    assert fleet.files() == before


def test_what_is_wrong_with_customers_is_found(fleet):
    """Credentials, domains and databases of others, missing values, files that nobody reads; never a value."""
    secret = "hG7kQ2mXv9Lw4RtZp1Ys8NcB3JdF6aEu"
    make(fleet, "--database", "one")
    fleet.said(
        "customer", "create", "globex", "--domain", "globex.example", "--service", "api", "--database", "one", "--yes"
    )
    text = (fleet.folder / "api/wrangler.toml").read_text().replace('"globex.example/*"', '"x.acme.example/*"')
    files = {
        "api/wrangler.toml": text,
        "config/customers/globex/production.env": f"CUSTOMER_ID=globex\nAPI_TOKEN={secret}\n",
        "config/customers/alone.env": "",
        "config/customers/initech/production.env": "CUSTOMER_ID=initech\nCUSTOMER_DOMAIN=acme.example\n",
        "config/customers/half/production.env": "A='",
    }
    write(fleet.folder, files)

    findings = fleet.told("customer", "validate", status=2)["findings"]
    half = fleet.said("customer", "validate", "globex", status=2)

    rules = {(finding["rule"], Path(finding["file"]).parent.name) for finding in findings}
    assert {
        ("customer-credential", "globex"),
        ("customer-incomplete", "globex"),
        ("customer-route", "api"),
        ("customer-database", "api"),
        ("customer-domain", "initech"),
        ("customer-unused", "initech"),
        ("customer", "customers"),
        ("customer", "half"),
    } <= rules
    (credential,) = [finding for finding in findings if finding["rule"] == "customer-credential"]
    assert "critical" in credential["message"]
    assert "clodo secrets import" in credential["remedy"]
    assert "no NAME=value" in half
    assert secret not in str(findings) + half


def test_older_names_are_migrated_with_a_diff(tmp_path, capsys):
    """On the messy sample: renamed, what the wrangler config says taken out, everything else as it was."""
    root = tmp_path / "messy"
    shutil.copytree(MESSY, root)
    fleet = Fleet(root, None, "default", capsys)  # type: ignore[arg-type]
    before = fleet.files()

    told = fleet.told("customer", "update", "globex", "--migrate", "--environment", "staging", "--yes")
    again = fleet.told("customer", "update", "globex", "--migrate", "--environment", "staging", "--yes")

    changed = {name for name, content in fleet.files().items() if before[name] != content}
    file = "config/customers/globex/staging.env"
    assert changed == {file} == {*told["files"]}
    assert not again["written"]
    assert (root / file).read_text() == (
        "# globex staging (old names)\n"
        'CUSTOMER_ID="globex"\n'
        "CUSTOMER_DOMAIN=staging.globex.example\n"
        "export API_URL='https://gateway.staging.globex.example'\n"
    )
    assert "-DOMAIN=staging.globex.example" in told["diff"]
    assert any("change code that reads DOMAIN first" in note for note in told["notes"])


@pytest.mark.exhaustive
def test_a_customer_of_thirty_services_comes_and_goes(tmp_path, capsys):
    """On the messy sample, TOML and JSONC alike: thirty sections more, and then the same bytes as before."""
    root = tmp_path / "messy"
    shutil.copytree(MESSY, root)
    fleet = Fleet(root, None, "default", capsys)  # type: ignore[arg-type]
    before = fleet.files()
    names = [service.name for service in Workspace.load(root).services]
    words = [word for name in names for word in ("--service", name)]

    made = fleet.told("customer", "create", "initech", "-e", "staging", "--domain", "initech.example", *words, "--yes")
    loaded = Workspace.load(root)
    fleet.said("customer", "remove", "initech", "--yes")

    assert len(made["targets"]) == 30
    assert len(loaded.targets) == 30 * 7
    config = loaded.effective(loaded.find("orders@staging/initech"))
    assert [route.pattern for route in config.routes] == ["orders.initech.example/*"]
    assert fleet.files() == before
