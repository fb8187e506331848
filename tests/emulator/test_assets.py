"""Uploading static assets: sessions, buckets, tokens."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from tests.fixtures.embedded_cloud import CloudAccount


def digest(content: bytes) -> str:
    """What a client calls a file: any 32 hex digits of its content."""
    return hashlib.sha256(content).hexdigest()[:32]


def begin(account: CloudAccount, files: dict[str, bytes], script: str = "site") -> dict[str, Any]:
    """Open an upload session."""
    manifest = {path: {"hash": digest(content), "size": len(content)} for path, content in files.items()}
    session: dict[str, Any] = account.result(
        "POST", f"/workers/scripts/{script}/assets-upload-session", json={"manifest": manifest}
    )
    return session


def send(account: CloudAccount, jwt: str, *contents: bytes) -> Any:
    """Upload files as wrangler does: base64 in a form, with the session's own token."""
    parts = [(digest(content), (digest(content), base64.b64encode(content), "text/html")) for content in contents]
    return account.api.post(
        f"{account.root}/workers/assets/upload?base64=true", files=parts, headers={"Authorization": f"Bearer {jwt}"}
    )


def deploy(account: CloudAccount, jwt: str, **assets: Any) -> Any:
    """Deploy a Worker of assets only."""
    metadata = {"assets": {"jwt": jwt, "config": {}, **assets}, "compatibility_date": "2026-01-01"}
    return account.api.put(f"{account.root}/workers/scripts/site", files={"metadata": (None, json.dumps(metadata))})


def test_only_what_is_missing_is_asked_for(account: CloudAccount) -> None:
    """A session asks for files nobody uploaded yet; with none left its token is the completion already."""
    files = {"/index.html": b"<h1>one</h1>", "/copy.html": b"<h1>one</h1>", "/other.txt": b"two"}
    session = begin(account, files)
    first = send(account, session["jwt"], b"<h1>one</h1>")
    last = send(account, session["jwt"], b"two")
    deployed = deploy(account, last.json()["result"]["jwt"])
    account.result("POST", "/workers/scripts/site/subdomain", json={"enabled": True})
    again = begin(account, {**files, "/new.txt": b"three"})
    nothing = begin(account, files)

    assert sorted(session["buckets"][0]) == sorted({digest(content) for content in files.values()})
    assert (first.status_code, last.status_code) == (202, 201)
    assert first.json()["result"] == {}
    assert deployed.status_code == 200, deployed.text
    assert account.visit(account.hostname("site"), "/other.txt").text == "two"
    assert account.visit(account.hostname("site"), "/").text == "<h1>one</h1>"
    assert again["buckets"] == [[digest(b"three")]]
    assert nothing["buckets"] == []
    assert deploy(account, nothing["jwt"]).status_code == 200
    assert len(nothing["jwt"].split(".")) == 3


def test_tokens_are_good_for_one_thing_only(account: CloudAccount) -> None:
    """The upload token doesn't deploy, a made-up or an API token doesn't upload, another Worker's doesn't either."""
    session = begin(account, {"/index.html": b"x"})
    incomplete = deploy(account, session["jwt"])
    forged = send(account, session["jwt"][:-2] + "AA", b"x")
    api_token = send(account, account.token, b"x")
    other = begin(account, {"/index.html": b"y"}, script="elsewhere")
    foreign = deploy(account, send(account, other["jwt"], b"y").json()["result"]["jwt"])

    assert incomplete.status_code in (400, 403)
    assert (forged.status_code, api_token.status_code) == (403, 403)
    assert foreign.status_code == 400


def test_what_isnt_in_the_manifest_is_refused(account: CloudAccount) -> None:
    """Files of another name or size than announced, and manifests that climb out of the folder, are refused."""
    session = begin(account, {"/index.html": b"x"})

    assert send(account, session["jwt"], b"something else").status_code == 400
    wrong_size = account.api.post(
        f"{account.root}/workers/assets/upload",
        files=[(digest(b"x"), (digest(b"x"), b"xx", "text/html"))],
        headers={"Authorization": f"Bearer {session['jwt']}"},
    )
    assert wrong_size.status_code == 400
    for path, entry in (
        ("/../etc/passwd", {"hash": "0" * 32, "size": 1}),
        ("relative", {"hash": "0" * 32, "size": 1}),
        ("/a", {"hash": "short", "size": 1}),
        ("/a", {"hash": "0" * 32, "size": -1}),
        ("/a", {"hash": "0" * 32, "size": 26 * 1024 * 1024}),
    ):
        status, _ = account.refusal(
            "POST", "/workers/scripts/site/assets-upload-session", json={"manifest": {path: entry}}
        )
        assert status == 400, path
