"""Pages: projects, direct uploads, and what visitors get."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import websockets

from tests.fixtures.embedded_cloud import CloudAccount

SITE = {
    "/index.html": b"<h1>home</h1>",
    "/about.html": b"about",
    "/deep/page.html": b"deep",
    "/style.css": b"body {}",
    "/404.html": b"not here",
}
HEADERS = "/style.css\n  x-served-by: pages\n"
REDIRECTS = "/old /about 301\n/go/* /deep/:splat 302\n"
FUNCTION = """\
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname === "/api/hello") {
      return Response.json([env.GREETING, env.CF_PAGES_BRANCH, await env.KV.get("key"), env.SECRET]);
    }
    return env.ASSETS.fetch(request);
  },
};
"""


def upload(account: CloudAccount, project: str, files: Mapping[str, bytes]) -> dict[str, str]:
    """Upload files as wrangler does and return the manifest."""
    token = account.result("GET", f"/pages/projects/{project}/upload-token")["jwt"]
    manifest = {path: hashlib.sha256(path.encode() + content).hexdigest()[:32] for path, content in files.items()}
    with httpx.Client(
        base_url=account.cloud.url, headers={"authorization": f"Bearer {token}"}, trust_env=False
    ) as client:
        missing = client.post("/pages/assets/check-missing", json={"hashes": [*manifest.values()]}).json()["result"]
        wanted = [
            {"key": manifest[path], "value": base64.b64encode(content).decode(), "metadata": {}, "base64": True}
            for path, content in files.items()
            if manifest[path] in missing
        ]
        assert client.post("/pages/assets/upload", json=wanted).is_success
        assert client.post("/pages/assets/upsert-hashes", json={"hashes": [*manifest.values()]}).is_success
    return manifest


def deploy(account: CloudAccount, project: str, files: Mapping[str, bytes], branch: str = "main", **parts: str) -> Any:
    """Deploy files to a branch; *parts* are further files of the form, with `_` for what can't be in a name."""
    manifest = upload(account, project, files)
    form: dict[str, Any] = {"manifest": (None, json.dumps(manifest)), "branch": (None, branch)}
    form |= {name: (name, text) for name, text in parts.items()}
    return account.result("POST", f"/pages/projects/{project}/deployments", files=form)


@pytest.fixture
def site(account: CloudAccount) -> str:
    """A project with a name of its own, since those are everybody's."""
    name = f"site-{account.account_id[:8]}"
    account.result("POST", "/pages/projects", json={"name": name, "production_branch": "main"})
    return name


def test_a_direct_upload_is_served(account: CloudAccount, site: str) -> None:
    """Production, a deployment and a branch have hostnames; files, headers and redirects are as Pages has them."""
    made = deploy(account, site, SITE, _headers=HEADERS, _redirects=REDIRECTS)
    preview = deploy(account, site, {"/index.html": b"feature"}, branch="Feature/Login Form")
    host = f"{site}.pages.dev"

    assert account.visit(host, "/").text == "<h1>home</h1>"
    assert account.visit(host, "/about").text == "about"
    assert account.visit(host, "/deep/page.html").status_code == 308
    assert account.visit(host, "/style.css").headers["x-served-by"] == "pages"
    assert account.visit(host, "/old").headers["location"] == "/about"
    assert account.visit(host, "/go/page").headers["location"] == "/deep/page"
    missing = account.visit(host, "/none")
    assert (missing.status_code, missing.text) == (404, "not here")
    assert account.visit(made["url"].removeprefix("https://"), "/").text == "<h1>home</h1>"
    assert preview["aliases"] == [f"https://feature-login-form.{host}"]
    assert account.visit(f"feature-login-form.{host}", "/any/path").text == "feature"
    assert account.visit(f"nobody.{host}", "/").status_code == 404
    assert (made["environment"], preview["environment"]) == ("production", "preview")


def test_pages_that_moved_did_so_for_good(account: CloudAccount, site: str) -> None:
    """Other ways to write a page's address are 308, as on Pages; a site's own redirects keep their status."""
    files = {**SITE, "/blog/index.html": b"blog", "/sp ace.html": b"space"}
    deploy(account, site, files, _redirects="/temporary /about 307\n/blog/old.html /blog/ 307\n")
    host = f"{site}.pages.dev"
    moved = {
        "/about.html": "/about",
        "/about/?x=1": "/about?x=1",
        "/blog": "/blog/",
        "/blog/index.html": "/blog/",
        "/index": "/",
        "/sp%20ace.html": "/sp%20ace",
    }

    for path, location in moved.items():
        answer = account.visit(host, path)
        assert (answer.status_code, answer.headers["location"]) == (308, location)
    assert [account.visit(host, path).status_code for path in ("/temporary", "/blog/old.html")] == [307, 307]


def test_files_have_the_headers_that_pages_gives(account: CloudAccount, site: str) -> None:
    """Every file has three by itself and previews a fourth; what a site sets replaces them, what it drops is gone."""
    rules = """\
/*
  X-All: yes
  Referrer-Policy: no-referrer
/about
  Access-Control-Allow-Origin: https://a.example
/style.css
  ! X-Content-Type-Options
"""
    plain = deploy(account, site, SITE)
    own = deploy(account, site, SITE, _headers=rules)
    host = f"{site}.pages.dev"
    names = ("access-control-allow-origin", "referrer-policy", "x-content-type-options", "x-robots-tag")

    def headers(at: str, path: str) -> list[str | None]:
        found = account.visit(at.removeprefix("https://"), path).headers
        return [found.get(name) for name in names]

    assert headers(plain["url"], "/") == ["*", "strict-origin-when-cross-origin", "nosniff", "noindex"]
    assert headers(own["url"], "/none") == ["*", "no-referrer", "nosniff", "noindex"]
    assert headers(host, "/about") == ["https://a.example", "no-referrer", "nosniff", None]
    assert headers(host, "/style.css") == ["*", "no-referrer", None, None]
    assert account.visit(host, "/").headers["x-all"] == "yes"


def test_functions_run_in_front_of_files(account: CloudAccount, site: str) -> None:
    """A _worker.js gets the requests its routes name, with the bindings and secrets of its environment."""
    namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "t"})["id"]
    account.api.put(f"{account.root}/storage/kv/namespaces/{namespace}/values/key", content=b"value")
    settings = {
        "env_vars": {"GREETING": {"value": "hello"}, "SECRET": {"type": "secret_text", "value": "swordfish"}},
        "kv_namespaces": {"KV": {"namespace_id": namespace}},
    }
    changed = account.result("PATCH", f"/pages/projects/{site}", json={"deployment_configs": {"production": settings}})
    routes = json.dumps({"version": 1, "include": ["/api/*"], "exclude": []})

    made = deploy(account, site, SITE, **{"_worker.js": FUNCTION, "_routes.json": routes})

    assert account.visit(f"{site}.pages.dev", "/api/hello").json() == ["hello", "main", "value", "swordfish"]
    assert account.visit(f"{site}.pages.dev", "/about").text == "about"
    assert "swordfish" not in json.dumps([changed, made])
    assert made["uses_functions"] is True


def test_a_configuration_file_goes_before_the_dashboard(account: CloudAccount, site: str) -> None:
    """What an upload says of its bindings is what Functions have, and what the project shows; only secrets stay."""
    namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "t"})["id"]
    account.api.put(f"{account.root}/storage/kv/namespaces/{namespace}/values/key", content=b"value")
    secret = {"type": "secret_text", "value": "swordfish"}
    before = {"env_vars": {"OLD": {"value": "gone"}, "SECRET": secret}, "d1_databases": {"DB": {"id": "gone"}}}
    account.result("PATCH", f"/pages/projects/{site}", json={"deployment_configs": {"production": before}})
    metadata = {
        "main_module": "f.js",
        "compatibility_date": "2025-06-01",
        "bindings": [
            {"type": "plain_text", "name": "GREETING", "text": "from the file"},
            {"type": "kv_namespace", "name": "KV", "namespace_id": namespace},
            {"type": "ai", "name": "AI"},
        ],
        "limits": {"cpu_ms": 50},
    }
    parts = {"metadata": (None, json.dumps(metadata)), "f.js": ("f.js", FUNCTION, "application/javascript+module")}
    bundle = httpx.Request("POST", "http://bundle", files=parts).read().decode()
    file = {"wrangler_config_hash": "0" * 64, "pages_build_output_dir": "dist"}

    deploy(account, site, SITE, **file, **{"_worker.bundle": bundle})
    project = account.result("GET", f"/pages/projects/{site}")
    production = project["deployment_configs"]["production"]

    greeting, _, value, kept = account.visit(f"{site}.pages.dev", "/api/hello").json()
    assert (greeting, value, kept) == ("from the file", "value", "swordfish")
    assert production["env_vars"] == {
        "GREETING": {"type": "plain_text", "value": "from the file"},
        "SECRET": {"type": "secret_text", "value": ""},
    }
    assert (production["kv_namespaces"], production.get("d1_databases")) == ({"KV": {"namespace_id": namespace}}, None)
    assert (production["ai_bindings"], production["limits"]) == ({"AI": {"project_id": ""}}, {"cpu_ms": 50})
    assert (production["compatibility_date"], production["wrangler_config_hash"]) == ("2025-06-01", "0" * 64)
    assert project["build_config"]["destination_dir"] == "dist"
    assert project["deployment_configs"]["preview"]["env_vars"] is None


COUNTER = """
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject { async fetch() { return new Response("counted") } }
export default { fetch() { return new Response() } };"""
ASKS = """
export default { fetch: (request, { COUNTER }) => COUNTER.get(COUNTER.idFromName("one")).fetch(request) };"""


def test_functions_reach_durable_objects_of_a_worker(account: CloudAccount, site: str) -> None:
    """By the id of their namespace, which a configuration file's binding shows too."""
    account.put_worker("counter", COUNTER, migrations={"new_tag": "v1", "new_sqlite_classes": ["Counter"]})
    namespace = account.result("GET", "/workers/durable_objects/namespaces")[0]["id"]
    objects = {"durable_object_namespaces": {"COUNTER": {"namespace_id": namespace}}}
    account.result("PATCH", f"/pages/projects/{site}", json={"deployment_configs": {"production": objects}})
    bound = {"type": "durable_object_namespace", "name": "COUNTER", "class_name": "Counter", "script_name": "counter"}
    metadata = {"main_module": "f.js", "bindings": [bound]}
    parts = {"metadata": (None, json.dumps(metadata)), "f.js": ("f.js", ASKS, "application/javascript+module")}
    bundle = httpx.Request("POST", "http://bundle", files=parts).read().decode()

    deploy(account, site, SITE, **{"_worker.js": ASKS})
    deploy(account, site, SITE, branch="dev", wrangler_config_hash="0", **{"_worker.bundle": bundle})
    preview = account.result("GET", f"/pages/projects/{site}")["deployment_configs"]["preview"]

    assert [account.visit(host, "/").text for host in (f"{site}.pages.dev", f"dev.{site}.pages.dev")] == ["counted"] * 2
    assert preview["durable_object_namespaces"]["COUNTER"]["namespace_id"] == namespace


LOGS = (
    'export default { fetch(request) { console.log("seen", new URL(request.url).pathname); return new Response() } };'
)


async def test_a_tail_tells_what_functions_of_one_deployment_log(account: CloudAccount, site: str) -> None:
    """Another deployment's requests aren't in it; deleting it ends it, and no project has another's."""
    earlier, newest = [await asyncio.to_thread(deploy, account, site, SITE, **{"_worker.js": LOGS}) for _ in range(2)]
    where = f"/pages/projects/{site}/deployments/{newest['id']}/tails"
    tail = account.result("POST", where, json={"filters": []})
    async with websockets.connect(tail["url"], subprotocols=[websockets.Subprotocol("trace-v1")], proxy=None) as socket:
        await asyncio.to_thread(account.visit, earlier["url"].removeprefix("https://"), "/earlier")
        await asyncio.to_thread(account.visit, f"{site}.pages.dev", "/newest")
        event = json.loads(await asyncio.wait_for(socket.recv(), 10))
        account.result("DELETE", f"{where}/{tail['id']}")
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 10)

    assert event["logs"][0]["message"] == ["seen", "/newest"]
    assert account.refusal("DELETE", f"{where}/{tail['id']}")[0] == 404
    assert account.refusal("POST", f"/pages/projects/none/deployments/{newest['id']}/tails") == (404, 8000007)


def test_a_function_that_cannot_start_fails_its_deployment(account: CloudAccount, site: str) -> None:
    """The deployment is kept as failed and says why; production goes on showing what it showed."""
    deploy(account, site, SITE)

    failed = deploy(account, site, SITE, **{"_worker.js": "export default { fetch( }"})

    assert (failed["latest_stage"]["name"], failed["latest_stage"]["status"]) == ("deploy", "failure")
    logs = account.result("GET", f"/pages/projects/{site}/deployments/{failed['id']}/history/logs")
    assert "SyntaxError" in logs["data"][-1]["line"]
    assert account.visit(f"{site}.pages.dev", "/about").text == "about"


def test_deployments_are_listed_rolled_back_and_deleted(account: CloudAccount, site: str) -> None:
    """Going back shows an earlier deployment; the one that is shown can't be deleted, the others can."""
    first = deploy(account, site, {"/index.html": b"first"})
    second = deploy(account, site, {"/index.html": b"second"})
    where = f"/pages/projects/{site}/deployments"

    account.result("POST", f"{where}/{first['id']}/rollback")

    assert account.visit(f"{site}.pages.dev", "/").text == "first"
    assert [one["id"] for one in account.result("GET", where)] == [second["id"], first["id"]]
    assert account.result("GET", f"{where}?env=preview") == []
    assert account.refusal("DELETE", f"{where}/{first['id']}") == (400, 8000034)
    account.result("DELETE", f"{where}/{second['id']}")
    assert account.visit(second["url"].removeprefix("https://"), "/").status_code == 404
    retried = account.result("POST", f"{where}/{first['id']}/retry")
    assert account.result("GET", f"/pages/projects/{site}")["canonical_deployment"]["id"] == retried["id"]


def test_lists_have_no_longer_pages_than_on_cloudflare(account: CloudAccount, site: str) -> None:
    """Ten projects and 25 deployments are the most, and what comes when nothing is said; else it is 8000024."""
    deployments = f"/pages/projects/{site}/deployments"

    for path, most in (("/pages/projects", 10), (deployments, 25)):
        assert account.api.get(f"{account.root}{path}?page=1&per_page={most}").json()["result_info"]["per_page"] == most
        assert account.api.get(account.root + path).json()["result_info"]["per_page"] == most
        for odd in (f"per_page={most + 1}", "per_page=0", "page=0", "page=x"):
            assert account.refusal("GET", f"{path}?{odd}") == (400, 8000024), odd


def test_a_branch_loses_its_preview_only_by_force(account: CloudAccount, site: str) -> None:
    """The preview that a branch's name leads to is deleted with `force` only, earlier ones as they are."""
    earlier, newest = (deploy(account, site, {"/index.html": text}, branch="dev") for text in (b"1", b"2"))
    where = f"/pages/projects/{site}/deployments"

    assert account.refusal("DELETE", f"{where}/{newest['id']}") == (400, 8000035)
    account.result("DELETE", f"{where}/{earlier['id']}")
    account.result("DELETE", f"{where}/{newest['id']}?force=true")
    assert account.result("GET", where) == []


def test_projects_and_domains_are_kept(account: CloudAccount, site: str) -> None:
    """Names are checked, domains show the project, and what is deleted is gone."""
    deploy(account, site, {"/index.html": b"home"})
    build = {"build_command": "make", "build_caching": True}
    built = account.result("PATCH", f"/pages/projects/{site}", json={"build_config": build})["build_config"]
    assert (built["build_command"], built["build_caching"], built["root_dir"]) == ("make", True, "")
    domain = f"www.{account.zone}"

    account.result("POST", f"/pages/projects/{site}/domains", json={"name": domain})

    assert account.visit(domain, "/").text == "home"
    assert account.result("GET", f"/pages/projects/{site}")["domains"] == [f"{site}.pages.dev", domain]
    assert account.refusal("POST", f"/pages/projects/{site}/domains", json={"name": domain}) == (409, 8000018)
    assert account.refusal("POST", f"/pages/projects/{site}/domains", json={"name": "a.example"}) == (400, 8000003)
    account.result("DELETE", f"/pages/projects/{site}/domains/{domain}")
    assert account.visit(domain, "/").status_code != 200
    assert account.refusal("POST", "/pages/projects", json={"name": site}) == (409, 8000002)
    assert account.refusal("POST", "/pages/projects", json={"name": "../x"}) == (400, 8000015)
    account.result("DELETE", f"/pages/projects/{site}")
    assert account.refusal("GET", f"/pages/projects/{site}") == (404, 8000007)
    assert account.visit(f"{site}.pages.dev", "/").status_code == 421


def test_what_cannot_be_deployed_is_refused(account: CloudAccount, site: str) -> None:
    """Missing and malformed parts, paths that lead elsewhere and files nobody uploaded make no deployment."""
    forms: tuple[tuple[dict[str, str], int], ...] = (
        ({"branch": "main"}, 8000096),
        ({"manifest": "{"}, 8000003),
        ({"manifest": "[]"}, 8000003),
        ({"manifest": '{"/../x": "0"}'}, 8000003),
        ({"manifest": json.dumps({"/" + "x" * 256: "0"})}, 8000003),
        ({"manifest": '{"/index.html": "never uploaded"}'}, 8000003),
        ({"manifest": "{}", "branch": "x" * 300}, 8000003),
        ({"manifest": "{}", "_routes.json": "{}", "_worker.js": ""}, 8000003),
        ({"manifest": "{}", "_worker.bundle": "no multipart"}, 10021),
    )

    for form, code in forms:
        parts = {name: (name if name.startswith("_") else None, text) for name, text in form.items()}
        assert account.refusal("POST", f"/pages/projects/{site}/deployments", files=parts) == (400, code), form
    assert account.result("GET", f"/pages/projects/{site}/deployments") == []


def test_uploads_need_a_token_of_their_own(account: CloudAccount, site: str) -> None:
    """An API token, a changed token and none at all upload nothing; hashes of one account mean nothing in another."""
    token = account.result("GET", f"/pages/projects/{site}/upload-token")["jwt"]
    head, claims, _ = token.split(".")

    for wrong in (account.token, f"{head}.{claims}.AAAA", f"{head}..{claims}", "none"):
        answer = httpx.post(
            f"{account.cloud.url}/pages/assets/check-missing",
            json={"hashes": ["0" * 32]},
            headers={"authorization": f"Bearer {wrong}"},
            trust_env=False,
        )
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, 8000013)
