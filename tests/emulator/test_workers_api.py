"""Workers over the API: uploads, versions, deployments, secrets, settings."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.fixtures.embedded_cloud import HELLO, CloudAccount, script_parts

SHOW = "export default { fetch(request, env) { return Response.json(env); } };"


def say(word: str) -> str:
    """A Worker that answers *word*."""
    return f"export default {{ fetch() {{ return new Response('{word}'); }} }};"


def secret(name: str, text: str) -> dict[str, str]:
    """A secret binding."""
    return {"name": name, "type": "secret_text", "text": text}


# --- scripts ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_isnt_there_is_10007(account: CloudAccount) -> None:
    """Every endpoint of an unknown Worker answers 404 with 10007: wrangler's sign of a first deploy."""
    for path in (
        "/workers/workers/gone",
        *(
            f"/workers/scripts/gone{tail}"
            for tail in ("/secrets", "/deployments", "/settings", "/versions", "/subdomain", "/schedules", "")
        ),
    ):
        assert account.refusal("GET", path) == (404, 10007), path
    assert account.refusal("POST", "/workers/scripts/gone/versions", files=script_parts(HELLO)) == (404, 10007)


def test_a_service_that_isnt_there_is_10090(account: CloudAccount) -> None:
    """The older view of Workers has its own number, the only one that wranglers of 2025 take for a first deploy."""
    for method, path in (("GET", ""), ("DELETE", "?force=true"), ("GET", "/environments/production")):
        assert account.refusal(method, f"/workers/services/gone{path}") == (404, 10090), (method, path)


def test_upload_is_listed_with_what_clients_compare(account: CloudAccount) -> None:
    """The list shows etag, tag, dates, handlers and flags; a new upload moves etag and modified_on, not the tag."""
    account.put_worker("shop", say("one"), compatibility_flags=["nodejs_compat"])
    first = account.result("GET", "/workers/scripts")[0]
    account.put_worker("shop", say("two"))
    second = account.result("GET", "/workers/scripts")[0]

    assert first["id"] == "shop"
    assert first["handlers"] == ["fetch"]
    assert (first["has_modules"], first["has_assets"], first["last_deployed_from"]) == (True, False, "api")
    assert (first["compatibility_date"], first["compatibility_flags"]) == ("2026-01-01", ["nodejs_compat"])
    assert (first["tag"], first["created_on"]) == (second["tag"], second["created_on"])
    assert first["etag"] != second["etag"]
    assert first["modified_on"] < second["modified_on"]


def test_modified_on_moves_with_deployments_and_settings(account: CloudAccount) -> None:
    """Uploading a version, deploying it and changing settings each move modified_on; etag follows what is live."""
    account.put_worker("shop", say("one"))
    seen = [account.result("GET", "/workers/scripts")[0]]
    version = account.upload_version("shop", say("two"))
    seen.append(account.result("GET", "/workers/scripts")[0])
    account.deploy("shop", (version["id"], 100))
    seen.append(account.result("GET", "/workers/scripts")[0])
    account.result("PATCH", "/workers/scripts/shop/script-settings", json={"logpush": True})
    seen.append(account.result("GET", "/workers/scripts")[0])

    moments = [entry["modified_on"] for entry in seen]
    assert moments == sorted(set(moments))
    etags = [entry["etag"] for entry in seen]
    assert etags[0] == etags[1] != etags[2] == etags[3]


def test_broken_script_is_refused_with_workerds_words(account: CloudAccount) -> None:
    """A syntax error is 10021 with place, and changes nothing: neither on a first upload nor on a later one."""
    broken = script_parts("export default { fetch( };")
    first = account.api.put(f"{account.root}/workers/scripts/shop", files=broken)
    account.put_worker("shop", say("one"))
    later = account.api.post(f"{account.root}/workers/scripts/shop/versions", files=broken)

    for answer in (first, later):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 10021)
        assert "SyntaxError" in answer.json()["errors"][0]["message"]
        assert "index.js:1" in answer.json()["errors"][0]["message"]
    assert len(account.result("GET", "/workers/scripts/shop/versions")["items"]) == 1
    assert account.visit(account.hostname("shop")).text == "one"


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([("metadata", (None, "{"))], 400),
        ([("metadata", (None, "[]"))], 400),
        ([("index.js", ("index.js", b"", "application/javascript+module"))], 400),
        ([("metadata", (None, '{"main_module": "gone.js"}'))], 400),
        ([("metadata", (None, '{"bindings": {}}'))], 400),
        ([("metadata", (None, "{}"))], 400),
        (script_parts(HELLO, bindings=[{"name": "A", "type": "d1", "id": "x"}]), 400),
        (script_parts(HELLO, compatibility_flags=["no_such_flag"]), 400),
        (script_parts(HELLO, compatibility_date="yesterday"), 400),
        (script_parts(HELLO, annotations={"workers/tag": "x" * 101}), 400),
        (script_parts(HELLO, annotations={"workers/tag": 1}), 400),
        (script_parts(HELLO, migrations={"old_tag": "v9", "new_tag": "v10", "steps": []}), 412),
        (script_parts(HELLO, bindings=[{"name": "A", "type": "dispatch_namespace", "namespace": "\ud800"}]), 400),
    ],
)
def test_malformed_uploads_are_refused(account: CloudAccount, parts: list[Any], status: int) -> None:
    """What can't be a Worker is refused in the envelope, and none is made."""
    answer = account.api.put(f"{account.root}/workers/scripts/shop", files=parts)

    assert answer.status_code == status, answer.text
    assert answer.json()["success"] is False
    assert account.result("GET", "/workers/scripts") == []


def test_settings_hold_what_the_newest_version_has(account: CloudAccount) -> None:
    """Bindings are shown without secrets' values; a patch of versioned settings is a new version that is live."""
    account.put_worker(
        "shop", SHOW, bindings=[{"name": "VAR", "type": "plain_text", "text": "one"}, secret("KEY", "swordfish")]
    )
    settings = account.result("GET", "/workers/scripts/shop/settings")
    account.result(
        "PATCH",
        "/workers/scripts/shop/settings",
        files={
            "settings": (
                None,
                json.dumps(
                    {
                        "bindings": [
                            {"name": "VAR", "type": "plain_text", "text": "two"},
                            {"name": "KEY", "type": "inherit"},
                        ]
                    }
                ),
            )
        },
    )

    assert settings["bindings"] == [
        {"name": "VAR", "type": "plain_text", "text": "one"},
        {"name": "KEY", "type": "secret_text"},
    ]
    assert account.visit(account.hostname("shop")).json() == {"VAR": "two", "KEY": "swordfish"}


def test_a_patch_of_bindings_keeps_those_it_only_names(account: CloudAccount) -> None:
    """A binding sent with name and type alone keeps its value, as `secret bulk` relies on; others go."""
    account.put_worker(
        "shop",
        SHOW,
        bindings=[
            {"name": "COLOUR", "type": "plain_text", "text": "red"},
            secret("KEY", "swordfish"),
            secret("OLD", "x"),
        ],
    )
    path = "/workers/scripts/shop/settings"
    named = [{"name": "COLOUR", "type": "plain_text"}, {"name": "KEY", "type": "secret_text"}]

    form = {"settings": (None, json.dumps({"bindings": [*named, secret("NEW", "tuna")]}))}
    account.result("PATCH", path, files=form)
    unknown = [*named, {"name": "NEVER", "type": "secret_text"}]
    assert account.refusal("PATCH", path, json={"bindings": unknown}) == (400, 10021)

    seen = account.visit(account.hostname("shop")).json()
    assert seen == {"COLOUR": "red", "KEY": "swordfish", "NEW": "tuna"}


def test_script_settings_are_kept_and_taken_away(account: CloudAccount) -> None:
    """Settings that aren't versioned change at once; null takes one away; wrong types are refused."""
    account.put_worker("shop")
    path = "/workers/scripts/shop/script-settings"
    account.result("PATCH", path, json={"tags": ["cf:service=shop"], "observability": {"enabled": True}})
    changed = account.result("PATCH", path, json={"observability": None, "logpush": True})

    assert changed == {"logpush": True, "tags": ["cf:service=shop"], "tail_consumers": None}
    assert account.result("GET", path) == changed
    assert account.refusal("PATCH", path, json={"tags": "no"}) == (400, 10021)


@pytest.mark.parametrize("consumers", ["no", ["no"], [None], [{"name": "no"}], [{"service": 1}]])
def test_tail_consumers_that_are_none_are_refused_wherever_they_come(account: CloudAccount, consumers: object) -> None:
    """In an upload, in settings and in script settings; kept, they would be in the way of each later deploy."""
    account.put_worker("shop")
    broken = {"tail_consumers": consumers}
    root = "/workers/scripts/shop"

    assert account.refusal("PUT", root, files=script_parts(HELLO, **broken)) == (400, 10021)
    assert account.refusal("PATCH", f"{root}/settings", json=broken) == (400, 10021)
    assert account.refusal("PATCH", f"{root}/script-settings", json=broken) == (400, 10021)
    assert account.result("GET", f"{root}/script-settings")["tail_consumers"] is None


def test_content_comes_back_as_it_was_sent(account: CloudAccount) -> None:
    """The script is downloaded as the parts it was uploaded in; changing it keeps everything else."""
    account.put_worker("shop", SHOW, bindings=[secret("KEY", "swordfish")])
    content = account.api.get(f"{account.root}/workers/scripts/shop/content/v2")
    account.result(
        "PUT",
        "/workers/scripts/shop/content",
        files=[
            ("metadata", (None, '{"main_module": "new.js"}')),
            (
                "new.js",
                ("new.js", SHOW.replace("json(env)", "json([env.KEY])").encode(), "application/javascript+module"),
            ),
        ],
    )

    assert content.headers["content-type"].startswith("multipart/form-data")
    assert content.headers["cf-entrypoint"] == "index.js"
    assert SHOW in content.text
    assert account.visit(account.hostname("shop")).json() == ["swordfish"]


def test_delete_needs_force_while_others_depend(account: CloudAccount) -> None:
    """A Worker that another binds to is deleted by force only; what it was reachable by goes with it."""
    account.put_worker("auth")
    account.put_worker("shop", bindings=[{"name": "AUTH", "type": "service", "service": "auth"}])
    account.result("PUT", "/workers/scripts/auth/routes", json=[{"pattern": f"{account.zone}/*"}])
    references = account.result("GET", "/workers/scripts/auth/references")
    refused = account.refusal("DELETE", "/workers/services/auth?force=false")
    account.result("DELETE", "/workers/services/auth?force=true")

    assert [incoming["service"] for incoming in references["services"]["incoming"]] == ["shop"]
    assert refused == (400, 10064)
    assert [script["id"] for script in account.result("GET", "/workers/scripts")] == ["shop"]
    assert account.api.get(f"/zones/{account.zone_id}/workers/routes").json()["result"] == []


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"compatibility_date": "2999-01-01"}, "Can't set compatibility date in the future: 2999-01-01"),
        ({"compatibility_date": "next week"}, "compatibility date"),
        ({"compatibility_flags": ["no_such_flag"]}, "no_such_flag"),
        ({"compatibility_flags": ["nodejs_compat", "no_nodejs_compat"]}, "nodejs_compat"),
    ],
)
def test_dates_and_flags_are_workerds_to_judge(account: CloudAccount, metadata: dict[str, Any], words: str) -> None:
    """A date that is none or in the future, and flags that workerd doesn't know or can't have together, are 10021."""
    answer = account.api.put(f"{account.root}/workers/scripts/shop", files=script_parts(HELLO, **metadata))

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 10021)
    assert words.lower() in answer.json()["errors"][0]["message"].lower()


def test_a_deployment_takes_its_time_when_told_to(account: CloudAccount) -> None:
    """With a propagation delay visitors get the version before, and the new one once the delay is over."""
    account.put_worker("shop", say("one"))
    account.cloud.propagate_after(timedelta(hours=1))
    try:
        account.put_worker("shop", say("two"))
        account.put_worker("fresh", say("first"))
        during = account.visit(account.hostname("shop")).text
        fresh = account.visit(account.hostname("fresh")).status_code
    finally:
        account.cloud.propagate_after(timedelta(0))

    assert (during, fresh) == ("one", 404)
    assert account.visit(account.hostname("shop")).text == "two"
    assert account.visit(account.hostname("fresh")).text == "first"


def test_the_older_view_of_a_worker(account: CloudAccount) -> None:
    """A Worker is a service with one environment, which has its bindings, routes and subdomain; no other is there."""
    account.put_worker("shop", SHOW, bindings=[secret("KEY", "swordfish"), {"type": "version_metadata", "name": "V"}])
    route = {"pattern": f"{account.zone}/*", "script": "shop"}
    account.api.post(f"/zones/{account.zone_id}/workers/routes", json=route)
    root = "/workers/services/shop/environments/production"

    service = account.result("GET", "/workers/services/shop")
    assert account.result("GET", root)["script"]["tag"] == service["default_environment"]["script"]["tag"]
    for bindings in (f"{root}/bindings", "/workers/scripts/shop/bindings"):
        assert account.result("GET", bindings) == [
            {"name": "KEY", "type": "secret_text"},
            {"name": "V", "type": "version_metadata"},
        ]
    (listed,) = account.result("GET", f"{root}/routes", params={"show_zonename": "true"})
    assert (listed["pattern"], listed["zone_name"]) == (route["pattern"], account.zone)
    assert account.result("GET", f"{root}/subdomain") == {"enabled": True, "previews_enabled": True}
    assert account.refusal("GET", "/workers/services/shop/environments/staging") == (404, 10092)


# --- versions and deployments -----------------------------------------------------------------------------------------


def test_a_version_gets_traffic_when_it_is_deployed(account: CloudAccount) -> None:
    """An uploaded version answers at its preview hostname and nowhere else, until a deployment names it."""
    account.put_worker("shop", say("one"))
    version = account.upload_version("shop", say("two"), annotations={"workers/tag": "v2", "workers/alias": "next"})
    live, preview = account.visit(account.hostname("shop")), account.visit(account.preview("shop", version["id"]))
    alias = account.visit(f"next-{account.hostname('shop')}")
    deployment = account.deploy("shop", (version["id"], 100), annotations={"workers/message": "go"})

    assert (live.text, preview.text, alias.text) == ("one", "two", "two")
    assert version["metadata"]["has_preview"] is True
    assert version["number"] == 2
    assert version["annotations"]["workers/tag"] == "v2"
    assert deployment["versions"] == [{"version_id": version["id"], "percentage": 100}]
    assert deployment["annotations"]["workers/message"] == "go"
    assert account.visit(account.hostname("shop")).text == "two"
    assert account.result("GET", "/workers/scripts/shop/deployments")["deployments"][0] == deployment


def test_a_version_shows_what_it_is_made_of(account: CloudAccount) -> None:
    """A version's resources name bindings, handlers and runtime; the same every time."""
    account.put_worker("shop")
    code = (
        "import { WorkerEntrypoint } from 'cloudflare:workers'; export class Api extends WorkerEntrypoint { ping() {} }"
    )
    version = account.upload_version("shop", f"{code} {HELLO}", bindings=[secret("KEY", "swordfish")])
    shown = account.result("GET", f"/workers/scripts/shop/versions/{version['id']}")

    assert shown == version
    assert shown["resources"]["bindings"] == [{"name": "KEY", "type": "secret_text"}]
    assert shown["resources"]["script"]["handlers"] == ["fetch"]
    assert [entry["name"] for entry in shown["resources"]["script"]["named_handlers"]] == ["Api"]
    assert shown["resources"]["script_runtime"]["compatibility_date"] == "2026-01-01"
    assert account.refusal("GET", "/workers/scripts/shop/versions/gone") == (404, 10008)


def test_secrets_are_inherited_from_the_newest_version(account: CloudAccount) -> None:
    """What a failed, undeployed version brought returns with keep_bindings, unless a version is named."""
    account.put_worker("shop", SHOW, bindings=[secret("KEY", "good")])
    live = account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    account.upload_version("shop", SHOW, bindings=[secret("KEY", "leaked"), secret("EXTRA", "leaked")])
    kept = account.upload_version("shop", SHOW, keep_bindings=["secret_text"])
    named = account.upload_version("shop", SHOW, bindings=[{"name": "KEY", "type": "inherit", "version_id": live}])

    assert account.visit(account.preview("shop", kept["id"])).json() == {"KEY": "leaked", "EXTRA": "leaked"}
    assert account.visit(account.preview("shop", named["id"])).json() == {"KEY": "good"}


@pytest.mark.parametrize(
    "shares",
    [
        [],
        [("VERSION", 50)],
        [("VERSION", 60), ("VERSION", 40)],
        [("VERSION", 101), ("gone", -1)],
        [("VERSION", 50), ("gone", 25), ("other", 25)],
        [("VERSION", "all")],
    ],
)
def test_impossible_splits_are_refused(account: CloudAccount, shares: list[tuple[str, Any]]) -> None:
    """Percentages add up to 100 over one or two different versions."""
    account.put_worker("shop")
    own = account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    versions = [{"version_id": name.replace("VERSION", own), "percentage": share} for name, share in shares]

    status, _ = account.refusal(
        "POST", "/workers/scripts/shop/deployments", json={"strategy": "percentage", "versions": versions}
    )

    assert status == 400
    assert len(account.result("GET", "/workers/scripts/shop/deployments")["deployments"]) == 1


def test_a_deployment_of_an_unknown_version_is_10008(account: CloudAccount) -> None:
    """A version of nobody, or of another Worker, can't be deployed."""
    account.put_worker("shop")
    account.put_worker("other")
    foreign = account.result("GET", "/workers/scripts/other/versions")["items"][0]["id"]

    for version_id in ("00000000-0000-0000-0000-000000000000", foreign):
        body = {"strategy": "percentage", "versions": [{"version_id": version_id, "percentage": 100}]}
        assert account.refusal("POST", "/workers/scripts/shop/deployments", json=body) == (404, 10008)


def test_a_version_at_zero_percent_answers_to_its_override(account: CloudAccount) -> None:
    """A version in the deployment is reached by the override header, one outside it is not: the awkward truth."""
    account.put_worker("shop", say("one"))
    one = account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    two = account.upload_version("shop", say("two"))["id"]
    header = {"Cloudflare-Workers-Version-Overrides": f'shop="{two}"'}
    outside = account.visit(account.hostname("shop"), headers=header).text
    account.deploy("shop", (one, 100), (two, 0))
    inside = account.visit(account.hostname("shop"), headers=header).text
    account.cloud.ignore_overrides(True)
    ignored = account.visit(account.hostname("shop"), headers=header).text
    account.cloud.ignore_overrides(False)

    assert (outside, inside, ignored) == ("one", "two", "one")


def test_versions_are_paged_and_deployable_ones_are_not(account: CloudAccount) -> None:
    """The list has pages of ten by default; `deployable=true` ignores paging and ends at the last hundred."""
    account.put_worker("shop")
    for _ in range(11):
        account.result("PATCH", "/workers/workers/shop/versions/latest", json={"env": {"A": secret("A", "x")}})
    answer = account.api.get(f"{account.root}/workers/scripts/shop/versions").json()
    second = account.api.get(f"{account.root}/workers/scripts/shop/versions?page=2").json()
    deployable = account.result("GET", "/workers/scripts/shop/versions?deployable=true&per_page=1")

    assert [item["number"] for item in answer["result"]["items"]] == list(range(12, 2, -1))
    assert answer["result_info"]["total_count"] == 12
    assert [item["number"] for item in second["result"]["items"]] == [2, 1]
    assert len(deployable["items"]) == 12


def test_only_the_last_hundred_versions_can_be_deployed(account: CloudAccount) -> None:
    """With a hundred newer versions, an old one is neither listed as deployable nor taken."""
    account.put_worker("shop")
    oldest = account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    for number in range(100):
        account.result("PATCH", "/workers/workers/shop/versions/latest", json={"env": {"A": secret("A", str(number))}})

    listed = account.result("GET", "/workers/scripts/shop/versions?deployable=true")["items"]
    refused = account.refusal(
        "POST",
        "/workers/scripts/shop/deployments",
        json={"strategy": "percentage", "versions": [{"version_id": oldest, "percentage": 100}]},
    )

    assert len(listed) == 100
    assert oldest not in {item["id"] for item in listed}
    assert refused[0] == 400


def test_no_request_is_lost_while_versions_change(account: CloudAccount) -> None:
    """Visitors get an answer of one version or the other all the time, and the new one from the moment it is live."""
    account.put_worker("shop", say("0"))
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def visit() -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not stop.is_set():
                answer = client.get(account.cloud.edge_url, headers={"Host": account.hostname("shop")})
                answers.append((answer.status_code, answer.text))

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    after = []
    try:
        for number in range(1, 8):
            version = account.upload_version("shop", say(str(number)))
            account.deploy("shop", (version["id"], 100))
            after.append(account.visit(account.hostname("shop")).text)
    finally:
        stop.set()
        for visitor in visitors:
            visitor.join()

    assert after == [str(number) for number in range(1, 8)]
    assert {status for status, _ in answers} == {200}
    assert {text for _, text in answers} <= {str(number) for number in range(8)}


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_is_a_new_live_version(account: CloudAccount) -> None:
    """Putting and deleting a secret makes a version each, deployed at once; its value is shown nowhere."""
    account.put_worker("shop", SHOW)
    put = account.result("PUT", "/workers/scripts/shop/secrets", json=secret("KEY", "swordfish"))
    seen = account.visit(account.hostname("shop")).json()
    listed = account.result("GET", "/workers/scripts/shop/secrets")
    account.result("DELETE", "/workers/scripts/shop/secrets/KEY?url_encoded=true")

    assert put == {"name": "KEY", "type": "secret_text"}
    assert listed == [put]
    assert seen == {"KEY": "swordfish"}
    assert account.visit(account.hostname("shop")).json() == {}
    deployments = account.result("GET", "/workers/scripts/shop/deployments")["deployments"]
    assert [entry["annotations"]["workers/triggered_by"] for entry in deployments] == ["secret", "secret", "upload"]
    assert account.refusal("DELETE", "/workers/scripts/shop/secrets/KEY") == (404, 10056)


def test_bulk_sets_and_deletes_in_one_version(account: CloudAccount) -> None:
    """A merge patch sets some and deletes others; deleting what isn't there is no error."""
    account.put_worker("shop", SHOW, bindings=[secret("OLD", "x")])
    answer = account.api.patch(
        f"{account.root}/workers/scripts/shop/secrets-bulk",
        content=json.dumps({"secrets": {"NEW": {"text": "n", "type": "secret_text"}, "OLD": None, "GONE": None}}),
        headers={"content-type": "application/merge-patch+json"},
    )

    assert answer.json()["result"] == {"NEW": {"name": "NEW", "type": "secret_text"}}
    assert account.visit(account.hostname("shop")).json() == {"NEW": "n"}
    assert len(account.result("GET", "/workers/scripts/shop/versions")["items"]) == 2


def test_secrets_wait_for_the_newest_version_to_be_live(account: CloudAccount) -> None:
    """With an undeployed or half-deployed version on top, single secrets are 10215 and bulk is 10214."""
    account.put_worker("shop")
    live = account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    newest = account.upload_version("shop")["id"]
    bulk = {"secrets": {"KEY": {"text": "x", "type": "secret_text"}}}
    refusals = []
    for shares in (((live, 100.0),), ((live, 50.0), (newest, 50.0))):
        account.deploy("shop", *shares)
        refusals.append(account.refusal("PUT", "/workers/scripts/shop/secrets", json=secret("KEY", "x")))
        refusals.append(account.refusal("PATCH", "/workers/scripts/shop/secrets-bulk", json=bulk))

    assert refusals == [(400, 10215), (400, 10214)] * 2


def test_going_back_over_a_changed_secret_needs_force(account: CloudAccount) -> None:
    """Deploying an older version whose secrets differ is 10220 without force, and goes through with it."""
    account.put_worker("shop", SHOW, bindings=[secret("KEY", "one")])
    first = account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    account.result("PUT", "/workers/scripts/shop/secrets", json=secret("KEY", "two"))
    body = {"strategy": "percentage", "versions": [{"version_id": first, "percentage": 100}]}
    answer = account.api.post(f"{account.root}/workers/scripts/shop/deployments", json=body)
    account.result("POST", "/workers/scripts/shop/deployments?force=true", json=body)

    assert answer.json()["errors"][0]["code"] == 10220
    assert answer.json()["errors"][0]["message"].endswith("The following secrets have changed: KEY")
    assert account.visit(account.hostname("shop")).json() == {"KEY": "one"}


# --- Durable Objects --------------------------------------------------------------------------------------------------

COUNTER = """
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async next() {
    const n = ((await this.ctx.storage.get("n")) ?? 0) + 1;
    await this.ctx.storage.put("n", n);
    return n;
  }
}
export default { async fetch(request, env) { return new Response(String(await env.C.getByName("a").next())); } };
"""


def test_objects_keep_their_state_over_uploads(account: CloudAccount) -> None:
    """A class is added by a migration once; its objects count on after the next upload; there are no previews."""
    binding = [{"name": "C", "type": "durable_object_namespace", "class_name": "Counter"}]
    unmigrated = account.refusal("PUT", "/workers/scripts/shop", files=script_parts(COUNTER, bindings=binding))
    account.put_worker(
        "shop",
        COUNTER,
        bindings=binding,
        migrations={"new_tag": "v1", "steps": [{"new_sqlite_classes": ["Counter"]}]},
    )
    counted = [account.visit(account.hostname("shop")).text for _ in range(2)]
    version = account.upload_version("shop", COUNTER, bindings=binding)
    account.deploy("shop", (version["id"], 100))
    counted.append(account.visit(account.hostname("shop")).text)

    assert unmigrated == (400, 10061)
    assert counted == ["1", "2", "3"]
    assert version["metadata"]["has_preview"] is False
    namespaces = account.result("GET", "/workers/durable_objects/namespaces")
    assert [(entry["script"], entry["class"], entry["use_sqlite"]) for entry in namespaces] == [
        ("shop", "Counter", True)
    ]
    (shown,) = account.result("GET", f"/workers/scripts/shop/versions/{version['id']}")["resources"]["bindings"]
    assert shown == {**binding[0], "namespace_id": namespaces[0]["id"]}
    service = account.result("GET", "/workers/services/shop")
    assert service["default_environment"]["script"]["migration_tag"] == "v1"
    migration = script_parts(COUNTER, bindings=binding, migrations={"old_tag": "v1", "new_tag": "v2", "steps": []})
    assert account.refusal("POST", "/workers/scripts/shop/versions", files=migration) == (400, 10211)


def test_a_class_that_has_objects_cant_vanish(account: CloudAccount) -> None:
    """New code must export every class with a namespace, and a migration's new class must be in the code."""
    migrations = {"new_tag": "v1", "steps": [{"new_sqlite_classes": ["Counter"]}]}
    missing = account.refusal("PUT", "/workers/scripts/shop", files=script_parts(HELLO, migrations=migrations))
    account.put_worker("shop", COUNTER, migrations=migrations)

    assert missing == (400, 10070)
    assert account.refusal("PUT", "/workers/scripts/shop", files=script_parts(HELLO)) == (400, 10064)
