"""What of a Worker can't be captured is named in the manifest, so that nobody believes to have it."""

from __future__ import annotations

import base64
import hashlib

from clodo.backups.manifest import Kind


def with_assets(account):
    """Upload a static asset; return what a Worker's metadata says of it."""
    content = b"<h1>hello</h1>"
    digest = hashlib.sha256(content).hexdigest()[:32]
    manifest = {"/index.html": {"hash": digest, "size": len(content)}}
    begun = account.result("POST", "/workers/scripts/shop/assets-upload-session", json={"manifest": manifest})
    uploaded = account.api.post(
        f"/accounts/{account.account_id}/workers/assets/upload?base64=true",
        files={digest: (digest, base64.b64encode(content), "text/html")},
        headers={"Authorization": f"Bearer {begun['jwt']}"},
    )
    assert uploaded.status_code == 201, uploaded.text
    return {"jwt": uploaded.json()["result"]["jwt"]}


def test_static_assets_and_values_of_secrets_are_named_as_not_captured(fleet):
    """Only where there are some: the API takes assets, and gives none back."""
    account = fleet.account
    account.put_worker("shop")
    without = fleet.back_up(kinds=[Kind.WORKER]).archives[0]
    secret = {"name": "KEY", "type": "secret_text", "text": "hush-4711"}

    account.put_worker("shop", assets=with_assets(account), bindings=[secret])
    archive = fleet.back_up(kinds=[Kind.WORKER]).archives[0]

    assert without.facts["not_captured"] == []
    assert archive.facts["not_captured"] == ["static assets", "values of secrets"]
