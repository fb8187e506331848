"""A customer's target, released for real."""

from __future__ import annotations

import pytest

from clodo.errors import BlockedByPolicy
from clodo.releases.releasing import Wish, release_target, survey
from clodo.workspace.customers import FOLDER
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import CloudAccount
from tests.releases.stage import keys_of, open_site
from tests.workspace.folders import write

CONFIG = """\
name = "api"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = true
preview_urls = true
version_metadata = {{ binding = "VERSION" }}

[vars]
LEVEL = "info"

[env.acme-production]
version_metadata = {{ binding = "VERSION" }}
routes = [{{ pattern = "{host}/*", zone_id = "{zone}" }}]
vars = {{ LEVEL = "debug" }}
"""
CODE = """\
export default {
  fetch(request, { LEVEL, CUSTOMER_ID, API_URL, VERSION }) {
    return Response.json({ LEVEL, CUSTOMER_ID, API_URL, version: VERSION.id });
  },
};
"""
PORTFOLIO = '[[services.api.smoke_tests]]\npath = "/"\nversion_json = "version"\n'
KEY = "uT5rWq8yZx2Lk9Vb4Nm7Pc1Df6Gh3Js0"
ENV = "CUSTOMER_ID=acme\nCUSTOMER_DOMAIN={host}\nAPI_URL=https://{host}/v1\n"


@pytest.fixture
def host(account: CloudAccount, tmp_path) -> str:
    """Write a workspace with one customer; return the customer's hostname."""
    host = f"acme.{account.zone}"
    files = {
        "portfolio.toml": PORTFOLIO,
        "api/wrangler.toml": CONFIG.format(host=host, zone=account.zone_id),
        "api/index.js": CODE,
        f"{FOLDER}/acme/production.env": ENV.format(host=host),
    }
    write(tmp_path, files)
    return host


def test_a_customer_is_released_with_its_own_settings(account: CloudAccount, toolchain: Toolchain, tmp_path, host):
    """Its Worker is live at its own hostname with the env file's settings; again is nothing, a setting is something."""
    with open_site(tmp_path, keys_of(account), KEY, lambda: toolchain) as site:
        target = site.workspace.find("api@production/acme")
        first = release_target(site, survey(site, [target])[0], Wish())
        again = survey(site, [target])[0]
    answer = account.visit(host)
    write(tmp_path, {f"{FOLDER}/acme/production.env": ENV.format(host=host) + "FEATURE_NEW=true\n"})
    with open_site(tmp_path, keys_of(account), KEY, lambda: toolchain) as site:
        changed = survey(site, [target])[0]

    assert first.ending == "live"
    assert answer.json() == {
        "LEVEL": "debug",
        "CUSTOMER_ID": "acme",
        "API_URL": f"https://{host}/v1",
        "version": first.version_id,
    }
    assert not again.has_changes
    assert changed.has_changes
    assert account.api.get(f"{account.root}/workers/scripts/api").status_code == 404


def test_a_credential_in_a_customers_file_stops_its_release(account, toolchain: Toolchain, tmp_path, host):
    """The rule, the key and file:line are named, and the way out; never the value; nothing is uploaded."""
    value = "hG7kQ2mXv9Lw4RtZp1Ys8NcB3JdF6aEu"
    file = write(tmp_path, {f"{FOLDER}/acme/production.env": f"CUSTOMER_ID=acme\nAPI_TOKEN={value}\n"}) / FOLDER

    with open_site(tmp_path, keys_of(account), KEY, lambda: toolchain) as site:
        surveyed = survey(site, [site.workspace.find("api@production/acme")])[0]
        with pytest.raises(BlockedByPolicy) as refused:
            release_target(site, surveyed, Wish())

    assert f"{file}/acme/production.env:2" in refused.value.message
    assert "API_TOKEN" in refused.value.message
    assert "clodo secrets import" in (refused.value.hint or "")
    assert value not in str(refused.value)
    assert account.result("GET", "/workers/scripts") == []
