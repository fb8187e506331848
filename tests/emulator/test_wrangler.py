"""The unmodified wrangler on the embedded cloud; after each command a real request sees what it did."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.emulator.conftest import Project

exhaustive = pytest.mark.exhaustive

# A wrangler run takes a second of two cores; on a busy machine ten of them take minutes.
pytestmark = pytest.mark.timeout(900)


def answer(project: Project, worker: str = "shop", path: str = "/") -> Any:
    """What the Worker says to a visitor."""
    response = project.account.visit(project.account.hostname(worker), path)
    assert response.status_code == 200, f"{response.status_code} {response.text}"
    return response.json()


@exhaustive
def test_deploy_again_replaces_the_code(project: Project) -> None:
    """The first deploy makes the Worker, the second goes through versions and deployments, visitors see both."""
    project.run("deploy")
    first = answer(project)
    project.write("second", vars={"GREETING": "goodbye"})
    project.run("deploy", "--message", "again", "--tag", "v2")

    assert first == {"greeting": "hello", "secret": None, "release": "first"}
    assert answer(project) == {"greeting": "goodbye", "secret": None, "release": "second"}
    methods = [
        (call.method, call.path.rpartition("/")[2])
        for call in project.account.cloud.calls(account_id=project.account.account_id, token="made with the account")
    ]
    assert ("PUT", "shop") in methods
    assert ("POST", "versions") in methods
    newest = project.account.result("GET", "/workers/scripts/shop/versions")["items"][0]
    assert newest["annotations"] == {
        "workers/message": "again",
        "workers/tag": "v2",
        "workers/triggered_by": "upload",
    }


def test_versions_upload_deploy_and_rollback(project: Project) -> None:
    """An uploaded version answers at its preview only, until it is deployed; a rollback takes it back."""
    project.run("deploy")
    project.write("second")
    uploaded = project.run("versions", "upload", "--tag", "candidate")
    newest = project.account.result("GET", "/workers/scripts/shop/versions")["items"][0]
    before = answer(project)
    preview = project.account.visit(project.account.preview("shop", newest["id"])).json()
    project.run("versions", "deploy", f"{newest['id']}@100%", "-y")
    after = answer(project)
    project.run("rollback", "-y", "--message", "worse")

    assert newest["id"][:8] in uploaded
    assert [before["release"], preview["release"], after["release"]] == ["first", "second", "second"]
    assert answer(project)["release"] == "first"
    deployments = project.account.result("GET", "/workers/scripts/shop/deployments")["deployments"]
    assert deployments[0]["annotations"] == {"workers/message": "worse", "workers/triggered_by": "rollback"}


@exhaustive
def test_secret_put_is_live_at_once(project: Project) -> None:
    """A secret that was put is in the environment of the next request, and its value nowhere in the API."""
    project.run("deploy")
    project.run("secret", "put", "SECRET", stdin="swordfish")
    listed = json.loads(project.run("secret", "list"))

    assert listed == [{"name": "SECRET", "type": "secret_text"}]
    assert answer(project)["secret"] == "swordfish"
    settings = project.account.api.get(f"{project.account.root}/workers/scripts/shop/settings").text
    assert "SECRET" in settings
    assert "swordfish" not in settings


def test_d1_migrations_reach_the_worker(project: Project) -> None:
    """A database is migrated, and read by the Worker that binds to it."""
    database = project.account.result("POST", "/d1/database", json={"name": "notes"})
    project.write(d1_databases=[{"binding": "DB", "database_name": "notes", "database_id": database["uuid"]}])
    migrations = project.folder / "migrations"
    migrations.mkdir()
    (migrations / "0001_notes.sql").write_text(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);\nINSERT INTO notes (text) VALUES ('from a migration');"
    )
    project.run("d1", "migrations", "apply", "notes", "--remote")
    project.run("deploy")

    assert answer(project, path="/rows") == [{"id": 1, "text": "from a migration"}]


@exhaustive
def test_whoami_names_the_user_and_the_account(project: Project) -> None:
    """The token's user, account and role are found."""
    found = json.loads(project.run("whoami", "--json"))

    assert found["loggedIn"] is True
    assert [account["id"] for account in found["accounts"]] == [project.account.account_id]


@exhaustive
def test_a_wrong_token_is_told_so(project: Project) -> None:
    """A token that nobody has ends wrangler with the authentication error; one that can't be one, with what it is."""
    unknown = project.attempt("deploy", env={"CLOUDFLARE_API_TOKEN": "n" * 40})
    malformed = project.attempt("deploy", env={"CLOUDFLARE_API_TOKEN": "nobody's"})

    assert (unknown.returncode, malformed.returncode) == (1, 1)
    assert "Authentication error [code: 10000]" in unknown.stderr
    assert "Invalid request headers [code: 6003]" in malformed.stderr


@exhaustive
def test_the_account_is_found_without_being_named(project: Project) -> None:
    """Without an account id wrangler takes the one account that the token reaches."""
    env = project.environment()
    del env["CLOUDFLARE_ACCOUNT_ID"]
    done = subprocess.run(
        project.command("deploy"), cwd=project.folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    assert answer(project)["release"] == "first"


@exhaustive
def test_an_environment_is_a_worker_of_its_own(project: Project) -> None:
    """`--env staging` deploys `shop-staging` with the environment's own variables and its tag."""
    project.write(env={"staging": {"vars": {"GREETING": "staging"}}})
    project.run("deploy", "--env", "staging")
    project.run("deploy", "--env", "staging")

    assert answer(project, "shop-staging")["greeting"] == "staging"
    assert project.account.refusal("GET", "/workers/services/shop") == (404, 10090)
    listed = project.account.result("GET", "/workers/scripts")
    assert listed[0]["tags"] == ["cf:service=shop", "cf:environment=staging"]


@exhaustive
def test_assets_are_uploaded_once(project: Project) -> None:
    """Static files are served; deploying again uploads only what changed."""
    public = project.folder / "public"
    public.mkdir()
    (public / "index.html").write_text("<h1>hello</h1>")
    (public / "picture.bin").write_bytes(bytes(range(256)) * 40)
    project.write(assets={"directory": "public"})
    project.run("deploy")
    first = project.account.visit(project.account.hostname("shop"), "/picture.bin").content
    (public / "index.html").write_text("<h1>goodbye</h1>")
    project.run("deploy")
    uploads = project.account.cloud.calls(account_id=project.account.account_id, path="/workers/assets/upload$")

    assert first == bytes(range(256)) * 40
    assert project.account.visit(project.account.hostname("shop")).text == "<h1>goodbye</h1>"
    assert [call.status for call in uploads] == [201, 201]


@exhaustive
def test_an_assets_only_worker_needs_no_script(project: Project) -> None:
    """A folder of files alone can be deployed, and deployed again."""
    (project.folder / "public").mkdir()
    (project.folder / "public" / "index.html").write_text("<h1>files</h1>")
    (project.folder / "wrangler.json").write_text(
        json.dumps({"name": "files", "compatibility_date": "2026-01-01", "assets": {"directory": "public"}})
    )
    project.run("deploy")
    project.run("deploy")

    assert project.account.visit(project.account.hostname("files")).text == "<h1>files</h1>"


@exhaustive
def test_bindings_without_id_are_provisioned(project: Project) -> None:
    """Databases, namespaces, buckets and queues that the configuration only names are made by the deploy."""
    project.write(
        d1_databases=[{"binding": "DB"}],
        kv_namespaces=[{"binding": "KV"}],
        r2_buckets=[{"binding": "BUCKET", "bucket_name": "shop-files"}],
        queues={"producers": [{"binding": "QUEUE", "queue": "shop-orders"}]},
    )
    project.run("deploy")
    # The ids are not written back when nobody is at the terminal: this deploy inherits them.
    project.write("second")
    project.run("deploy")

    kinds = {binding["type"] for binding in project.account.result("GET", "/workers/scripts/shop/settings")["bindings"]}
    assert {"d1", "kv_namespace", "r2_bucket", "queue"} <= kinds
    assert answer(project)["release"] == "second"
    assert project.account.visit(project.account.hostname("shop"), "/kv?key=a").text == "nothing"


@exhaustive
def test_routes_domains_and_schedules_are_published(project: Project) -> None:
    """A route, a custom domain and a schedule in the configuration lead to the Worker."""
    zone = project.account.zone
    project.write(
        routes=[
            {"pattern": f"{zone}/shop/*", "zone_name": zone},
            {"pattern": f"shop.{zone}", "custom_domain": True},
        ],
        triggers={"crons": ["*/30 * * * *"]},
    )
    project.run("deploy")
    domain = project.account.visit(f"shop.{zone}").json()
    routed = project.account.visit(zone, "/shop/x").json()
    project.write(routes=[{"pattern": f"{zone}/other/*", "zone_name": zone}], triggers={"crons": []})
    project.run("triggers", "deploy")

    assert domain["release"] == routed["release"] == "first"
    assert project.account.visit(zone, "/shop/x").status_code == 530
    assert project.account.visit(zone, "/other/x").json()["release"] == "first"
    assert project.account.result("GET", "/workers/scripts/shop/schedules") == {"schedules": []}


@exhaustive
def test_a_worker_with_durable_objects(project: Project) -> None:
    """Migrations are applied once, the tag is remembered, the objects keep their state; versions upload is refused."""
    counter = """
      import { DurableObject } from "cloudflare:workers";
      export class Counter extends DurableObject {
        async next() {
          const n = ((await this.ctx.storage.get("n")) ?? 0) + 1;
          await this.ctx.storage.put("n", n);
          return n;
        }
      }
      export default {
        async fetch(request, env) { return new Response(String(await env.COUNTER.getByName("one").next())); },
      };
    """
    project.write(
        durable_objects={"bindings": [{"name": "COUNTER", "class_name": "Counter"}]},
        migrations=[{"tag": "v1", "new_sqlite_classes": ["Counter"]}],
        preview_urls=False,
    )
    (project.folder / "index.js").write_text(counter)
    project.run("deploy")
    host = project.account.hostname("shop")
    seen = [project.account.visit(host).text]
    project.run("deploy")
    seen.append(project.account.visit(host).text)
    uploaded = project.account.upload_version("shop", counter)
    project.write(migrations=[*project.config["migrations"], {"tag": "v2", "new_sqlite_classes": ["Other"]}])
    (project.folder / "index.js").write_text(counter + "export class Other extends DurableObject {}")
    refused = project.attempt("versions", "upload")

    assert seen == ["1", "2"]
    service = project.account.result("GET", "/workers/services/shop")
    assert service["default_environment"]["script"]["migration_tag"] == "v1"
    assert uploaded["metadata"]["has_preview"] is False
    assert refused.returncode == 1
    assert "pending Durable Object migration" in refused.stderr


@exhaustive
def test_versions_are_listed_and_shown(project: Project) -> None:
    """`versions list`, `versions view`, `deployments list` and `deployments status` show what there is."""
    project.run("deploy")
    project.write("second")
    project.run("versions", "upload")
    versions = json.loads(project.run("versions", "list", "--json"))
    view = project.run("versions", "view", versions[-1]["id"])
    project.run("versions", "deploy", f"{versions[0]['id']}@90%", f"{versions[1]['id']}@10%", "-y")
    deployments = project.run("deployments", "list")
    status = json.loads(project.run("deployments", "status", "--json"))

    assert len(versions) == 2
    assert versions[-1]["id"] in view
    assert versions[0]["id"] in deployments
    assert sorted(version["percentage"] for version in status["versions"]) == [10, 90]
    seen = {answer(project)["release"] for _ in range(60)}
    assert seen == {"first", "second"}


@exhaustive
def test_secrets_in_bulk_and_their_deletion(project: Project) -> None:
    """Several secrets are set and deleted in one version; a single one is deleted by name."""
    project.run("deploy")
    (project.folder / "secrets.json").write_text(json.dumps({"SECRET": "one", "OTHER": "two"}))
    project.run("secret", "bulk", "secrets.json")
    first = answer(project)["secret"]
    (project.folder / "secrets.json").write_text(json.dumps({"SECRET": "three", "OTHER": None}))
    project.run("secret", "bulk", "secrets.json")
    second, names = answer(project)["secret"], json.loads(project.run("secret", "list"))
    project.run("secret", "delete", "SECRET")

    assert [first, second] == ["one", "three"]
    assert [secret["name"] for secret in names] == ["SECRET"]
    assert answer(project)["secret"] is None


@exhaustive
def test_a_secret_for_a_worker_that_isnt_there(project: Project) -> None:
    """`secret put` makes a draft Worker; the deploy that follows keeps the secret."""
    project.run("secret", "put", "SECRET", stdin="early")
    project.run("deploy")

    assert answer(project) == {"greeting": "hello", "secret": "early", "release": "first"}


@exhaustive
def test_secrets_are_refused_while_the_newest_version_isnt_live(project: Project) -> None:
    """With an undeployed version on top, `secret put` and `secret bulk` are refused; `versions secret put` works."""
    project.run("deploy")
    project.run("versions", "upload")
    put = project.attempt("secret", "put", "SECRET", stdin="late")
    (project.folder / "secrets.json").write_text('{"SECRET": "late"}')
    bulk = project.attempt("secret", "bulk", "secrets.json")
    project.run("versions", "secret", "put", "SECRET", stdin="late")
    newest = project.account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]

    assert (put.returncode, bulk.returncode) == (1, 1)
    codes = {call.code for call in project.account.cloud.calls(account_id=project.account.account_id, path="secrets")}
    assert {10214, 10215} <= codes
    assert answer(project)["secret"] is None
    assert project.account.visit(project.account.preview("shop", newest)).json()["secret"] == "late"


@exhaustive
def test_secrets_of_versions(project: Project) -> None:
    """`versions secret` sets, lists and deletes secrets in versions that wait to be deployed."""
    project.run("deploy")
    (project.folder / "secrets.json").write_text(json.dumps({"SECRET": "one", "OTHER": "two"}))
    project.run("versions", "secret", "bulk", "secrets.json")
    bulk = project.account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    project.run("versions", "secret", "delete", "SECRET")
    deleted = project.account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    project.run("versions", "deploy", f"{deleted}@100%", "-y")
    listed = project.run("versions", "secret", "list")

    assert project.account.visit(project.account.preview("shop", bulk)).json()["secret"] == "one"
    assert answer(project)["secret"] is None
    assert "OTHER" in listed
    assert "SECRET" not in listed.replace("Secret", "")


@exhaustive
def test_a_rollback_over_changed_secrets_is_forced(project: Project) -> None:
    """A rollback to a version with another secret is refused with 10220 first; wrangler then forces it."""
    project.run("deploy")
    project.run("secret", "put", "SECRET", stdin="one")
    project.run("secret", "put", "SECRET", stdin="two")
    versions = project.account.result("GET", "/workers/scripts/shop/versions")["items"]
    project.run("rollback", versions[1]["id"], "-y")

    assert answer(project)["secret"] == "one"
    codes = [
        call.code
        for call in project.account.cloud.calls(
            account_id=project.account.account_id, method="POST", path="/deployments$"
        )
    ]
    assert codes == [10220, None]


@exhaustive
def test_d1_execute_export_and_time_travel(project: Project) -> None:
    """Commands, files, exports, bookmarks, restores and deletion work on one database."""
    project.run("d1", "create", "notes")
    database = json.loads(project.run("d1", "list", "--json"))[0]
    project.write(d1_databases=[{"binding": "DB", "database_name": "notes", "database_id": database["uuid"]}])
    project.run("d1", "execute", "notes", "--remote", "-y", "--command", "CREATE TABLE notes (id INTEGER, text TEXT)")
    (project.folder / "rows.sql").write_text(
        "INSERT INTO notes VALUES (1, 'one');\nINSERT INTO notes VALUES (2, 'two');"
    )
    project.run("d1", "execute", "notes", "--remote", "-y", "--file", "rows.sql")
    project.run("deploy")
    before = answer(project, path="/rows")
    bookmark = json.loads(project.run("d1", "time-travel", "info", "notes", "--json"))["bookmark"]
    info = json.loads(project.run("d1", "info", "notes", "--json"))
    project.run("d1", "export", "notes", "--remote", "-y", "--output", "dump.sql")
    project.run("d1", "execute", "notes", "--remote", "-y", "--command", "DELETE FROM notes")
    emptied = answer(project, path="/rows")
    project.run("d1", "time-travel", "restore", "notes", "--bookmark", bookmark, "--json")
    restored = answer(project, path="/rows")
    insights = json.loads(project.run("d1", "insights", "notes", "--sort-by", "count", "--limit", "20"))
    at = datetime.now(UTC).isoformat()
    project.run("d1", "time-travel", "restore", "notes", "--timestamp", at, "--json")
    selected = json.loads(
        project.run("d1", "execute", "notes", "--remote", "--json", "--command", "SELECT count(*) AS n FROM notes")
    )
    project.run("d1", "delete", "notes", "-y")

    assert len(before) == 2
    assert emptied == []
    assert restored == before
    assert info["uuid"] == database["uuid"]
    # The table, and the imported file as one; two rows.
    assert (info["write_queries_24h"], info["rows_written_24h"]) == (2, 4)
    assert {"query": "DELETE FROM notes", "numberOfTimesRun": 1}.items() <= next(
        entry for entry in insights if entry["query"].startswith("DELETE")
    ).items()
    assert "INSERT INTO" in (project.folder / "dump.sql").read_text()
    assert selected[0]["results"] == [{"n": 2}]
    assert project.account.result("GET", "/d1/database") == []


@exhaustive
def test_a_failed_migration_leaves_nothing(project: Project) -> None:
    """A migration whose second statement fails leaves neither the first nor its name behind."""
    project.run("d1", "create", "notes")
    database = json.loads(project.run("d1", "list", "--json"))[0]
    project.write(d1_databases=[{"binding": "DB", "database_name": "notes", "database_id": database["uuid"]}])
    migrations = project.folder / "migrations"
    migrations.mkdir()
    (migrations / "0001_bad.sql").write_text("CREATE TABLE notes (id INTEGER);\nINSERT INTO nowhere VALUES (1);")
    done = project.attempt("d1", "migrations", "apply", "notes", "--remote")
    listed = project.run("d1", "migrations", "list", "notes", "--remote")

    assert done.returncode == 1
    assert "0001_bad.sql" in listed
    tables = project.account.result(
        "POST",
        f"/d1/database/{database['uuid']}/query",
        json={"sql": "SELECT name FROM sqlite_master WHERE name = 'notes'"},
    )
    assert tables[0]["results"] == []


@exhaustive
def test_kv_keys_reach_the_worker(project: Project) -> None:
    """Keys put, listed, read and deleted with wrangler are those the Worker sees."""
    project.run("kv", "namespace", "create", "cache")
    namespace = json.loads(project.run("kv", "namespace", "list"))[0]["id"]
    project.write(kv_namespaces=[{"binding": "KV", "id": namespace}])
    project.run("deploy")
    there = ("--namespace-id", namespace, "--remote")
    project.run("kv", "key", "put", "a/b c", "value", *there)
    by_worker = project.account.visit(project.account.hostname("shop"), "/kv?key=a%2Fb%20c").text
    by_wrangler = project.run("kv", "key", "get", "a/b c", "--text", *there).strip()
    (project.folder / "pairs.json").write_text(json.dumps([{"key": f"k{n}", "value": str(n)} for n in range(3)]))
    project.run("kv", "bulk", "put", "pairs.json", *there)
    names = [key["name"] for key in json.loads(project.run("kv", "key", "list", *there))]
    (project.folder / "keys.json").write_text(json.dumps(["k0", "k1"]))
    got = project.run("kv", "bulk", "get", "keys.json", *there)
    project.run("kv", "bulk", "delete", "keys.json", *there)
    project.run("kv", "key", "delete", "a/b c", *there)
    left = [key["name"] for key in json.loads(project.run("kv", "key", "list", *there))]
    gone = project.account.visit(project.account.hostname("shop"), "/kv?key=k0").text
    project.run("kv", "key", "put", "meta", "v", "--metadata", '{"a":1}', "--ttl", "3600", *there)
    (meta,) = (key for key in json.loads(project.run("kv", "key", "list", *there)) if key["name"] == "meta")
    project.run("kv", "namespace", "rename", "--namespace-id", namespace, "--new-name", "renamed")
    renamed = json.loads(project.run("kv", "namespace", "list"))[0]["title"]
    project.run("delete", "--force")
    project.run("kv", "namespace", "delete", "--namespace-id", namespace)

    assert by_worker == by_wrangler == "value"
    assert names == ["a/b c", "k0", "k1", "k2"]
    assert meta["metadata"] == {"a": 1}
    assert meta["expiration"] > time.time()
    assert renamed == "renamed"
    assert '"k1"' in got
    assert (left, gone) == (["k2"], "nothing")
    assert json.loads(project.run("kv", "namespace", "list")) == []


@exhaustive
def test_buckets_and_objects(project: Project) -> None:
    """Buckets are made, shown and removed; an object comes back as it was put, until it is deleted."""
    project.run("r2", "bucket", "create", "files")
    listed = project.run("r2", "bucket", "list")
    content = bytes(range(256)) * 40
    (project.folder / "picture.bin").write_bytes(content)
    project.run("r2", "object", "put", "files/dir/picture.bin", "--file", "picture.bin", "--remote")
    info = project.run("r2", "bucket", "info", "files")
    project.run("r2", "object", "get", "files/dir/picture.bin", "--file", "back.bin", "--remote")
    project.run("r2", "object", "delete", "files/dir/picture.bin", "--remote")
    gone = project.attempt("r2", "object", "get", "files/dir/picture.bin", "--file", "gone.bin", "--remote")
    project.run("r2", "bucket", "delete", "files")

    assert "files" in listed
    assert re.search(r"object_count:\s+1\b", info)
    assert (project.folder / "back.bin").read_bytes() == content
    assert gone.returncode == 1
    assert project.account.result("GET", "/r2/buckets") == {"buckets": []}


@exhaustive
def test_delete_takes_the_worker_away(project: Project) -> None:
    """A deleted Worker answers nobody, and isn't listed."""
    project.run("deploy")
    project.run("delete")

    assert project.account.visit(project.account.hostname("shop")).status_code == 404
    assert project.account.result("GET", "/workers/scripts") == []


def test_tail_shows_a_request(project: Project) -> None:
    """A tail prints the event of a request, with what the Worker logged and which version it was."""
    project.run("deploy")
    process = subprocess.Popen(
        project.command("tail", "shop", "--format", "json"),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_tail(project)
        project.account.visit(project.account.hostname("shop"), "/log?word=swordfish")
        event = read_json(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    assert process.returncode == 0
    assert event["logs"][0]["message"] == ["seen", "swordfish"]
    assert event["event"]["request"]["url"].endswith("/log?word=swordfish")
    assert event["scriptName"] == "shop"
    assert project.account.result("GET", "/workers/scripts/shop/tails") == []


def wait_for_tail(project: Project) -> None:
    """Return when wrangler's WebSocket listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if project.account.cloud.tail_listeners(project.account.account_id, "shop"):
            return
        time.sleep(0.02)
    raise AssertionError("wrangler tail never connected")


def read_json(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Read lines until they are one JSON document."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError:
            continue
        return found
    raise AssertionError(f"no event: {text}")
