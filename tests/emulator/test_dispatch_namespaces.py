"""Dispatch namespaces: customers' Workers apart from the account's own."""

from __future__ import annotations

import base64
from typing import Any

from cloudflare import Cloudflare

from tests.fixtures.embedded_cloud import HELLO, CloudAccount, script_parts, slow_body

EVERY = "/workers/dispatch/namespaces"
BOUND = {"type": "dispatch_namespace", "name": "CUSTOMERS", "namespace": "free"}


def put(account: CloudAccount, name: str = "acme", namespace: str = "free", **metadata: Any) -> dict[str, Any]:
    """Upload a customer's Worker."""
    path = f"{EVERY}/{namespace}/scripts/{name}"
    answer: dict[str, Any] = account.result("PUT", path, files=script_parts(HELLO, **metadata))
    return answer


def test_namespaces_are_made_renamed_and_removed(account: CloudAccount) -> None:
    """A namespace keeps its id under another name; names are taken once; one that isn't there is 100119."""
    made = account.result("POST", EVERY, json={"name": "free"})
    refused = account.refusal("POST", EVERY, json={"name": "free"}), account.refusal("POST", EVERY, json={"name": "?"})
    renamed = account.result("PUT", f"{EVERY}/free", json={"name": "paid"})
    trusted = account.result("PATCH", f"{EVERY}/paid", json={"trusted_workers": True})

    assert refused == ((400, 100120), (400, 10021))
    assert (renamed["namespace_id"], renamed["namespace_name"]) == (made["namespace_id"], "paid")
    assert (trusted["trusted_workers"], trusted["script_count"]) == (True, 0)
    assert [found["namespace_name"] for found in account.result("GET", EVERY)] == ["paid"]
    assert account.refusal("GET", f"{EVERY}/free") == (404, 100119)
    account.result("DELETE", f"{EVERY}/paid")
    assert account.result("GET", EVERY) == []


def test_a_customers_worker_is_none_of_the_accounts(account: CloudAccount) -> None:
    """The same name stands for two Workers; each has settings, secrets and tags of its own; both may be bound to KV."""
    account.result("POST", EVERY, json={"name": "free"})
    kv = account.result("POST", "/storage/kv/namespaces", json={"title": "acme"})["id"]
    path = f"{EVERY}/free/scripts/acme"

    missing = account.refusal("GET", path)
    put(account, tags=["customer-1"], bindings=[{"type": "kv_namespace", "name": "KV", "namespace_id": kv}])
    account.result("PUT", f"{path}/secrets", json={"name": "KEY", "text": "x", "type": "secret_text"})
    account.result("PUT", f"{path}/tags/eu")
    shown = account.result("GET", path)

    assert missing == (404, 10092)
    assert (shown["dispatch_namespace"], shown["script"]["id"], shown["script"]["tags"]) == (
        "free",
        "acme",
        ["customer-1", "eu"],
    )
    assert [binding["name"] for binding in account.result("GET", f"{path}/bindings")] == ["KV", "KEY"]
    assert account.result("GET", "/workers/scripts") == []
    assert account.refusal("GET", "/workers/scripts/acme/settings") == (404, 10007)
    assert [found["script"]["id"] for found in account.result("GET", f"{EVERY}/free/scripts")] == ["acme"]
    account.put_worker("acme")
    account.result("DELETE", path)
    assert [found["id"] for found in account.result("GET", "/workers/scripts")] == ["acme"]


def test_a_namespace_takes_its_workers_with_it(account: CloudAccount) -> None:
    """A namespace that was removed and made anew is empty."""
    account.result("POST", EVERY, json={"name": "free"})
    put(account)
    before = account.result("GET", f"{EVERY}/free")["script_count"]

    account.result("DELETE", f"{EVERY}/free")
    again = account.result("POST", EVERY, json={"name": "free"})

    assert (before, again["script_count"]) == (1, 0)


def test_only_a_namespace_that_is_there_is_bound_to(account: CloudAccount) -> None:
    """A dispatcher's upload is refused until there is the namespace that it names."""
    upload = script_parts(HELLO, bindings=[BOUND])

    assert account.refusal("PUT", "/workers/scripts/dispatcher", files=upload) == (400, 100119)
    account.result("POST", EVERY, json={"name": "free"})
    account.put_worker("dispatcher", bindings=[BOUND])


def test_a_customers_worker_has_static_assets(account: CloudAccount) -> None:
    """Files of a session that was opened in the namespace are uploaded where all are, and come with the Worker."""
    account.result("POST", EVERY, json={"name": "free"})
    files = {"manifest": {"/a.txt": {"hash": "0" * 32, "size": 2}}}

    opened = account.result("POST", f"{EVERY}/free/scripts/acme/assets-upload-session", json=files)
    uploaded = account.api.post(
        f"{account.root}/workers/assets/upload?base64=true",
        headers={"Authorization": f"Bearer {opened['jwt']}"},
        files={"0" * 32: ("a", base64.b64encode(b"hi"), "text/plain")},
    )
    put(account, assets={"jwt": uploaded.json()["result"]["jwt"]})

    assert account.result("GET", f"{EVERY}/free/scripts/acme")["script"]["has_assets"] is True


def test_the_sdk_reads_namespaces_strictly(account: CloudAccount) -> None:
    """The official SDK's whole way with a customer's Worker, with its strictest validation."""
    me: Any = {"account_id": account.account_id, "dispatch_namespace": "free"}
    metadata: Any = {"main_module": "index.js", "compatibility_date": "2026-01-01"}
    module = ("index.js", HELLO.encode(), "application/javascript+module")
    with Cloudflare(
        api_token=account.token, base_url=account.cloud.url, max_retries=0, _strict_response_validation=True
    ) as client:
        namespaces = client.workers_for_platforms.dispatch.namespaces
        scripts, acc = namespaces.scripts, account.account_id

        made = namespaces.create(account_id=acc, name="free")
        scripts.update("acme", **me, metadata=metadata, files=[module])
        scripts.secrets.update("acme", **me, name="KEY", text="x", type="secret_text")
        scripts.settings.edit("acme", **me, settings={"tags": ["a", "b"]})
        scripts.tags.delete("b", **me, script_name="acme")

        assert namespaces.get("free", account_id=acc).namespace_id == made.namespace_id
        assert [found.script_count for found in namespaces.list(account_id=acc)] == [1]
        assert scripts.get("acme", **me).dispatch_namespace == "free"
        assert [secret.name for secret in scripts.secrets.list("acme", **me)] == ["KEY"]
        assert list(scripts.tags.list("acme", **me)) == ["a"]
        assert len(list(scripts.bindings.get("acme", **me))) == 1
        scripts.settings.get("acme", **me)
        scripts.delete("acme", **me)
        namespaces.delete("free", account_id=acc)


def test_changes_of_a_namespace_at_once_all_count(account: CloudAccount) -> None:
    """Who lets a namespace's Workers trust each other loses nothing by a renaming at the same moment."""
    every = "/workers/dispatch/namespaces"
    account.result("POST", every, json={"name": "shops"})

    def rename() -> None:
        account.result("PATCH", f"{every}/shops", json={"name": "stores"})
        account.result("PATCH", f"{every}/stores", json={"name": "shops", "trusted_workers": True})

    account.result("PATCH", f"{every}/shops", content=slow_body({"name": "malls"}, rename))

    assert account.result("GET", f"{every}/malls")["trusted_workers"] is True
