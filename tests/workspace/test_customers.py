"""Customers as targets: whose section it is, what its Worker gets, and where each value comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from clodo.errors import BadConfiguration, TargetNotFound
from clodo.workspace.effective_values import effective_values
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace
from tests.workspace.folders import write

MESSY = Path(__file__).parent / "samples" / "messy"
CONFIG = """\
name = "api"
main = "index.js"
compatibility_date = "2026-01-01"
[vars]
LEVEL = "info"

[env.acme-production.vars]
LEVEL = "debug"
API_URL = "https://none.example"
[[env.acme-production.d1_databases]]
binding = "DB"
database_name = "acme"
"""
ENV = "# acme\nCUSTOMER_ID=acme\nDOMAIN=acme.example\nCLOUDFLARE_ZONE_ID=00\nAPI_URL=https://api.acme.example\n"


def place(root: Path, config: str = CONFIG, env: str = ENV, **more: str) -> Path:
    """Write a workspace of one service and one customer."""
    return write(root, {"wrangler.toml": config, "index.js": "", "config/customers/acme/production.env": env, **more})


def test_a_section_of_a_customer_is_a_target(tmp_path):
    """Its own Worker with the section's bindings and the env file's settings, old names also under the new ones."""
    workspace = Workspace.load(place(tmp_path))

    target = workspace.find("api@production/acme")
    config = workspace.effective(target)

    assert workspace.targets == (Target("api", "production"), target)
    assert (config.worker_name, config.environment) == ("api-acme-production", "production")
    assert [database.database_name for database in config.databases] == ["acme"]
    assert (
        config.variables
        == config.raw["vars"]
        == {
            "LEVEL": "debug",
            "API_URL": "https://api.acme.example",
            "CUSTOMER_ID": "acme",
            "DOMAIN": "acme.example",
            "CUSTOMER_DOMAIN": "acme.example",
        }
    )
    assert workspace.effective(Target("api", "production")).variables == {"LEVEL": "info"}


def test_every_value_of_a_customer_says_where_it_comes_from(tmp_path):
    """The env file where it says it, else the wrangler config."""
    root = place(tmp_path)
    workspace = Workspace.load(root)

    places = {value.path: value.place for value in effective_values(workspace, workspace.find("api@production/acme"))}

    env = f"{root}/config/customers/acme/production.env"
    assert places["vars.API_URL"] == f"{env}:5"
    assert places["vars.CUSTOMER_DOMAIN"] == places["vars.DOMAIN"] == f"{env}:3"
    assert places["vars.LEVEL"] == f"{root}/wrangler.toml:8"


def test_an_environment_for_one_customer_has_two_names(tmp_path):
    """`vars.SERVICE_DOMAIN` names the customer: its settings come to the environment's Worker."""
    config = CONFIG.partition("\n[env")[0] + '\nSERVICE_DOMAIN = "acme.example"\n'
    workspace = Workspace.load(place(tmp_path, config))

    found = workspace.find("api@production/acme")

    assert found == Target("api", "production")
    assert workspace.targets == (found,)
    assert workspace.effective(found).variables["API_URL"] == "https://api.acme.example"
    with pytest.raises(TargetNotFound):
        workspace.find("api@production/globex")


@pytest.mark.parametrize(
    ("config", "more", "what"),
    [
        (CONFIG, {"config/customers/acme/production.env": "DB=x\n"}, '"DB" is the name of a binding'),
        (CONFIG, {"config/customers/ac me/production.env": ""}, "can't be part of a target's name"),
        (CONFIG, {"config/customers/globex/production.env": "A=1\nA=2\n"}, "given twice"),
        (
            CONFIG.replace("acme-production", "acme-eu-production"),
            {
                "portfolio.toml": "[environments.eu-production]\n[environments.production]\n"
                '[services.api]\nenvironments = ["production"]\n',
                "config/customers/acme-eu/production.env": "",
            },
            None,
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(tmp_path, config, more, what):
    """A binding's name, a customer's name, a broken file; names that only look alike are taken."""
    root = place(tmp_path, config, **more)

    if what is None:
        assert Workspace.load(root).find("api@production/acme-eu").customer == "acme-eu"
        return
    passed: list[BadConfiguration] = []
    with pytest.raises(BadConfiguration, match=what) as refused:
        Workspace.load(root)
    Workspace.load(root, pass_over=passed.append)

    assert "/config/customers/" in refused.value.message
    assert [error.message for error in passed] == [refused.value.message]


def test_two_customers_never_share_a_section(tmp_path):
    """`acme` in `eu-production` and `acme-eu` in `production` would be one section."""
    portfolio = (
        "[environments.eu-production]\n[environments.production]\n[portfolio]\ndefault_environment='production'\n"
    )
    config = CONFIG.replace("acme-production", "acme-eu-production") + "\n[env.eu-production]\n"
    more = {"portfolio.toml": portfolio, "config/customers/acme-eu/production.env": ""}
    root = place(tmp_path, config, **more, **{"config/customers/acme/eu-production.env": ""})

    with pytest.raises(BadConfiguration, match="would be the section of"):
        Workspace.load(root)


def test_links_that_lead_in_circles_are_said(tmp_path):
    """A folder and a file that are links to themselves."""
    root = place(tmp_path)
    folder = root / "config/customers/loop"
    folder.symlink_to(folder)
    file = root / "config/customers/acme/staging.env"
    file.symlink_to(file)
    passed: list[BadConfiguration] = []

    Workspace.load(root, pass_over=passed.append)

    assert sorted(error.message.partition(":1: ")[0] for error in passed) == [str(file), str(folder)]


def test_the_messy_sample_has_two_customers_each():
    """Thirty services in two environments: for everybody, and for each of two customers."""
    workspace = Workspace.load(MESSY)

    assert len(workspace.services) == 30
    assert len(workspace.targets) == 30 * 2 * 3
    config = workspace.effective(workspace.find("orders@staging/globex"))
    assert config.variables["CUSTOMER_DOMAIN"] == "staging.globex.example"
    assert workspace.find("orders.staging.acme.example") == Target("orders", "staging", "acme")
    # Of an older layout's domains.js, which customers have no part in.
    assert workspace.find("data-service.example.com") == Target("data-service", "production")
