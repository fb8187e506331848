"""`clodo flag` on the embedded cloud: through KV without a release, and with the next version."""

from __future__ import annotations

import pytest

from clodo.ledger import Ledger, default_path
from tests.fixtures.embedded_cloud import CloudAccount
from tests.flags.test_flags import ASKING, MODULE, ask, upload
from tests.secrets.shop import Shop
from tests.workspace.folders import write

PORTFOLIO = """\
[environments.production]
account = "{block}"
protected = true

[environments.staging]
account = "{block}"
"""
CONFIG = """\
name = "api"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = true
preview_urls = true
version_metadata = {{ binding = "VERSION" }}
{more}
[env.staging]
version_metadata = {{ binding = "VERSION" }}
{more_of_staging}
"""
FLAGS = """\
delivery = "{delivery}"
[flags.served]
type = "string"
default = "old"     # as before
[flags.new]
type = "bool"
default = false
expires = 2020-01-01
"""
NAMESPACE = '[[{section}kv_namespaces]]\nbinding = "FLAGS"\nid = "{id}"'


@pytest.fixture
def shop(tmp_path, account: CloudAccount, prefect_server, capsys) -> Shop:
    """A workspace with an account's block."""
    return Shop.open(tmp_path, account, capsys)


def declare(shop: Shop, delivery: str, namespace: str = "") -> None:
    """Write a workspace whose one service has flags."""
    for name in ("auth/wrangler.toml", "auth/index.js"):
        (shop.folder / name).unlink()
    more = NAMESPACE.format(section="", id=namespace) if namespace else ""
    more_of_staging = NAMESPACE.format(section="env.staging.", id=namespace) if namespace else ""
    write(
        shop.folder,
        {
            "portfolio.toml": PORTFOLIO.format(block=shop.block),
            "api/wrangler.toml": CONFIG.format(more=more, more_of_staging=more_of_staging),
            "api/index.js": ASKING,
            "api/flags.mjs": MODULE.read_text(),
            "config/flags/api.toml": FLAGS.format(delivery=delivery),
        },
    )


def test_a_flag_changes_in_running_workers_without_a_release(shop):
    """Set for one environment: file, KV, Worker and audit trail have it; the other environment has not."""
    namespace = shop.account.result("POST", "/storage/kv/namespaces", json={"title": "flags"})["id"]
    declare(shop, "kv", namespace)
    for worker in ("api", "api-staging"):
        key = {"type": "plain_text", "name": "FLAGS_KEY", "text": f"flags/{worker}"}
        upload(
            shop.account,
            worker,
            bindings=[{"type": "kv_namespace", "name": "FLAGS", "namespace_id": namespace}, key],
        )
    unasked = shop.refused("flag", "set", "api", "served", "new", status=4)

    pushed = shop.told("flag", "push", "api@production", "api@staging")
    told = shop.told("flag", "set", "api", "served", "new", "--environment", "staging")
    again = shop.told("flag", "set", "api", "served", "new", "--environment", "staging")

    assert "--yes" in unasked
    assert pushed["live_at"] == ["api@production", "api@staging"]
    assert told == {"service": "api", "flag": "served", "live_at": ["api@staging"]}
    assert again == told
    served = {name: ask(shop.account, name, ids=[], flag="f", document={})["served"] for name in ("api", "api-staging")}
    assert served == {"api": "old", "api-staging": "new"}
    assert shop.told("flag", "diff", "--exit-code") == []
    with Ledger.open(default_path(shop.folder)) as ledger:
        (row,) = ledger.audit.list(subject="api/served")
    assert (row.action, row.detail["value"], row.detail["before"]) == ("flag-set", "new", None)
    assert (row.detail["environment"], row.detail["live_at"]) == ("staging", ["api@staging"])


def test_a_flag_that_kv_does_not_take_is_not_set(shop):
    """The file is as it was, and so is what was written for another target before."""
    namespace = shop.account.result("POST", "/storage/kv/namespaces", json={"title": "flags"})["id"]
    declare(shop, "kv", namespace)
    before = (shop.folder / "config/flags/api.toml").read_text()
    shop.told("flag", "push", "api@production")
    values = f"/storage/kv/namespaces/{namespace}/values/flags%2Fapi"
    kept = shop.account.api.get(shop.account.root + values).text
    fault = shop.account.cloud.add_fault(
        f"{shop.account.account_id}.*/values/.*api-staging",
        method="PUT",
        status=403,
        code=10000,
        message="Authentication error",
        times=None,
    )

    said = shop.refused("flag", "set", "api", "served", "new", "--yes", status=12)

    shop.account.cloud.clear_faults(fault)
    assert "KV" in said
    assert (shop.folder / "config/flags/api.toml").read_text() == before
    assert shop.account.api.get(shop.account.root + values).text == kept
    with Ledger.open(default_path(shop.folder)) as ledger:
        assert ledger.audit.list(subject="api/served") == []


def test_flags_are_listed_with_what_expired(shop):
    """Without a server; expired ones are told; a file of no service, and a value of no type, are refused."""
    declare(shop, "vars")

    listed = shop.told("flag", "list")
    expired = shop.told("flag", "list", "--expired")
    wrong = shop.refused("flag", "set", "api", "new", "perhaps", status=2)
    write(shop.folder, {"config/flags/nobody.toml": ""})
    nobody = shop.refused("flag", "list", status=10)

    assert [(item["flag"], item["default"], item["expired"]) for item in listed] == [
        ("new", False, True),
        ("served", "old", False),
    ]
    assert [item["flag"] for item in expired] == ["new"]
    assert "of the type bool" in wrong
    assert "nobody" in nobody
    shop.capsys.readouterr()
    assert shop.clodo("flag", "module") == 0
    assert shop.capsys.readouterr().out == MODULE.read_text()


@pytest.mark.exhaustive
def test_flags_in_a_variable_come_with_the_next_release(shop):
    """Set in the file, told by diff, and live with the release; then nothing differs, and nothing is to be released."""
    declare(shop, "vars")
    shop.told("deploy", "api@staging")

    told = shop.told("flag", "set", "api", "served", "new", "-e", "staging", "--percent", "100")
    different = shop.told("flag", "diff", "api@staging", "--exit-code", status=5)
    released = shop.told("deploy", "api@staging")
    again = shop.told("deploy", "api@staging")

    assert told["live_at"] == []
    assert [(item["flag"], item["live"]["value"], item["here"]["percent"]) for item in different] == [
        ("served", "old", 100)
    ]
    assert [target["ending"] for target in released["targets"]] == ["live"]
    assert shop.told("flag", "diff", "api@staging", "--exit-code") == []
    assert [target["ending"] for target in again["targets"]] == ["unchanged"]
    assert ask(shop.account, "api-staging", ids=[], flag="f", document={})["served"] == "new"
