"""The newer API of Workers, ``/workers/workers``: JSON throughout, one store with the older."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.fixtures.embedded_cloud import CloudAccount

CODE = b"export default { fetch(request, env) { return Response.json(env); } };"


def version(**more: Any) -> dict[str, Any]:
    """A version's body, of one module."""
    module = {
        "name": "index.js",
        "content_type": "application/javascript+module",
        "content_base64": base64.b64encode(CODE).decode(),
    }
    return {"main_module": "index.js", "compatibility_date": "2026-01-01", "modules": [module], **more}


def test_a_worker_is_made_without_code_and_gets_versions(account: CloudAccount) -> None:
    """A Worker is there before its code; a version is uploaded, read with its modules, deployed, and answers."""
    made = account.result("POST", "/workers/workers", json={"name": "shop", "subdomain": {"enabled": True}})
    nothing = account.visit(account.hostname("shop")).status_code
    database = account.result("POST", "/d1/database", json={"name": "notes"})["uuid"]
    bindings = [
        {"type": "plain_text", "name": "WORD", "text": "hello"},
        {"type": "secret_text", "name": "KEY", "text": "swordfish"},
        {"type": "d1", "name": "DB", "database_id": database},
    ]
    root = f"/workers/workers/{made['id']}"
    uploaded = account.result("POST", f"{root}/versions", json=version(bindings=bindings))
    read = account.result("GET", f"{root}/versions/{uploaded['id']}", params={"include": "modules"})
    account.deploy("shop", (uploaded["id"], 100))
    answered = account.visit(account.hostname("shop")).json()

    assert (made["name"], made["deployed_on"], made["tags"]) == ("shop", None, [])
    assert nothing == 404
    assert answered["WORD"] == "hello"
    assert base64.b64decode(read["modules"][0]["content_base64"]) == CODE
    assert [binding.get("database_id") for binding in read["bindings"]] == [None, None, database]
    assert "swordfish" not in str(read)
    assert account.result("GET", root)["deployed_on"] is not None
    assert [entry["id"] for entry in account.result("GET", f"{root}/versions")] == [uploaded["id"]]


def test_deploying_with_the_upload(account: CloudAccount) -> None:
    """`deploy=true` makes the new version live at once."""
    account.result("POST", "/workers/workers", json={"name": "shop", "subdomain": {"enabled": True}})
    account.result("POST", "/workers/workers/shop/versions", params={"deploy": "true"}, json=version())

    assert account.visit(account.hostname("shop")).status_code == 200


def test_settings_are_merged_or_replaced(account: CloudAccount) -> None:
    """PATCH changes what is given, PUT takes away what isn't; the older API shows the same."""
    account.result("POST", "/workers/workers", json={"name": "shop", "tags": ["a"], "logpush": True})
    patched = account.result("PATCH", "/workers/workers/shop", json={"tags": ["b"]})
    older = account.result("GET", "/workers/scripts/shop/script-settings")
    replaced = account.result("PUT", "/workers/workers/shop", json={"name": "shop"})

    assert (patched["tags"], patched["logpush"]) == (["b"], True)
    assert (older["tags"], older["logpush"]) == (["b"], True)
    assert (replaced["tags"], replaced["logpush"]) == ([], False)


def test_a_live_version_cant_be_deleted(account: CloudAccount) -> None:
    """A version that serves stays; another one goes, and can't be deployed any more."""
    account.put_worker("shop")
    live = account.result("GET", "/workers/workers/shop/versions/latest")["id"]
    other = account.upload_version("shop")["id"]

    assert account.refusal("DELETE", f"/workers/workers/shop/versions/{live}")[0] == 400
    account.result("DELETE", f"/workers/workers/shop/versions/{other}")
    assert account.refusal("GET", f"/workers/workers/shop/versions/{other}") == (404, 10008)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("", {"name": "a b"}, (400, 10016)),
        ("", {"name": 5}, (400, 10016)),
        ("", {"name": "taken"}, (409, 10040)),
        ("", {"name": "new", "tags": "no list"}, (400, 10021)),
        ("", {"name": "new", "subdomain": {"enabled": "yes"}}, (400, 10021)),
        ("", {"name": "new", "tail_consumers": ["x"]}, (400, 10021)),
        ("/taken/versions", {"main_module": "index.js"}, (400, 10021)),
        ("/taken/versions", [], (400, 10021)),
        ("/taken/versions", version(modules=[{"name": "index.js"}]), (400, 10021)),
        (
            "/taken/versions",
            version(modules=[{"name": "index.js", "content_type": "x", "content_base64": "%%"}]),
            (400, 10021),
        ),
        ("/gone/versions", version(), (404, 10007)),
    ],
)
def test_what_makes_no_sense_is_refused(account: CloudAccount, path: str, body: Any, expected: tuple[int, int]) -> None:
    """Bad names, types and modules are refused, and nothing is made."""
    account.put_worker("taken")

    assert account.refusal("POST", f"/workers/workers{path}", json=body) == expected
    assert [worker["name"] for worker in account.result("GET", "/workers/workers")] == ["taken"]
