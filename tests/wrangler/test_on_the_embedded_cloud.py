"""Releases' uploads on the embedded cloud: what a version keeps, and what it must not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clodo.cloudflare.budget import UnlimitedBudget
from clodo.wrangler.commands import Wrangler
from clodo.wrangler.gateway import Gateway
from clodo.wrangler.toolchain import Toolchain
from clodo.wrangler.uploads import Stamp, render_upload
from tests.fixtures.embedded_cloud import CloudAccount

from .conftest import AsWrangler

CODE = """
export default {
  fetch(request, env) { return Response.json([env.GREETING, env.KEPT ?? null, env.LEAKED ?? null, env.NEW ?? null]); }
};
"""


@pytest.mark.exhaustive
@pytest.mark.timeout(120)
def test_the_secrets_of_a_failed_version_do_not_reach_the_next(
    toolchain: Toolchain, account: CloudAccount, tmp_path: Path, as_wrangler: AsWrangler
) -> None:
    """
    A version that was uploaded with a secret and never deployed is the newest; the next one doesn't inherit from it.

    Cloudflare's own rule (`keep_bindings`) takes it over, as the version in between shows.
    """
    (tmp_path / "index.js").write_text(CODE)
    config = tmp_path / "wrangler.json"
    whole = {"name": "shop", "main": "index.js", "compatibility_date": "2026-01-01", "vars": {"GREETING": "hello"}}
    config.write_text(json.dumps({**whole, "workers_dev": True, "preview_urls": True}))
    where = {"worker": "shop", "account_id": account.account_id}
    with Gateway(account.cloud.url, account.token, budget=UnlimitedBudget()) as gateway:
        wrangler = Wrangler(toolchain, gateway, scratch=tmp_path / "scratch")
        live = wrangler.deploy_first(config, **where, stamp=Stamp("release-1"), secrets={"KEPT": "kept"})
        keep = {"keep_secrets_of": live.version_id, "live_secret_names": frozenset({"KEPT"})}
        failed = wrangler.upload_version(
            config, **where, stamp=Stamp("release-2", **keep), secrets={"LEAKED": "leaked"}
        )
        wanted = wrangler.compare(config, **where)
        content_type, body = render_upload(wanted)
        with gateway.session() as unstamped:
            answer = as_wrangler(unstamped).post(
                f"{account.root}/workers/scripts/shop/versions", content=body, headers={"content-type": content_type}
            )
        by_cloudflares_rule = answer.json()["result"]["id"]
        following = wrangler.upload_version(config, **where, stamp=Stamp("release-3", **keep), secrets={"NEW": "new"})

    assert visit(account, failed.version_id) == ["hello", "kept", "leaked", None]
    assert visit(account, by_cloudflares_rule) == ["hello", "kept", "leaked", None]
    assert visit(account, following.version_id) == ["hello", "kept", None, "new"]
    assert live.content_sha256 == failed.content_sha256 == following.content_sha256 == wanted.content_sha256
    assert following.has_preview


def visit(account: CloudAccount, version_id: str) -> list[str | None]:
    """Return what a version answers at its preview URL."""
    answer: list[str | None] = account.visit(account.preview("shop", version_id)).json()
    return answer
