"""Workflows over HTTP: deployed, listed, versioned, deleted; instances are refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from cloudflare import APIStatusError, Cloudflare

from tests.fixtures.embedded_cloud import CloudAccount

CODE = """
import { WorkflowEntrypoint } from "cloudflare:workers";
export class Checkout extends WorkflowEntrypoint {
  async run(event, step) {}
}
export default {
  async fetch(request, env) {
    const said = env.FLOW.create({}).catch((error) => error.message);
    return new Response(await said);
  },
};
"""
BODY: dict[str, Any] = {"script_name": "shop", "class_name": "Checkout"}


@pytest.fixture
def shop(account: CloudAccount) -> CloudAccount:
    """An account with a Worker, which nobody has to run."""
    account.put_worker("shop", reachable=False)
    return account


@pytest.fixture
def client(shop: CloudAccount) -> Any:
    """The official SDK, refusing every answer that isn't as its schema says."""
    with Cloudflare(
        api_token=shop.token, base_url=shop.cloud.url, max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def test_the_official_sdk_reads_every_answer(shop: CloudAccount, client: Any) -> None:
    """A Workflow is made, changed, listed, read with its versions and deleted by a client that believes nothing."""
    me: dict[str, Any] = {"account_id": shop.account_id}
    flow: dict[str, Any] = {"workflow_name": "checkout", **me}
    flows = client.workflows

    first = flows.update(**flow, **BODY)
    second = flows.update(
        **flow,
        script_name="shop",
        class_name="Payment",
        limits={"steps": 50},
        concurrency={"limit": 7},
        default_retention={"success_retention": "2 days", "error_retention": 5},
        schedules=[{"cron": "*/5 * * * *"}],
    )
    (listed,) = flows.list(**me).result
    got = flows.get(**flow)
    newest, oldest = flows.versions.list(**flow).result
    read = flows.versions.get(newest.id, **flow)
    drawn = flows.versions.graph(newest.id, **flow)
    instances = flows.instances.list(**flow).result
    gone = flows.delete(**flow)

    assert (first.id, first.created_on) == (second.id, second.created_on)
    assert [oldest.id, newest.id] == [first.version_id, second.version_id]
    assert listed.to_dict() == got.to_dict()
    assert (got.class_name, got.script_deleted, set(got.instances.values())) == ("Payment", False, {0})
    assert got.schedules[0].cron == "*/5 * * * *"
    assert (read.default_retention.success_retention, read.default_retention.error_retention) == (172_800_000, 5)
    assert (read.limits.steps, read.concurrency.limit, oldest.limits) == (50, 7, None)
    assert (drawn.graph, instances, gone.status) == (None, [], "ok")
    assert shop.refusal("GET", "/workflows/checkout") == (404, 10200)


def test_instances_are_refused_in_words(shop: CloudAccount, client: Any) -> None:
    """What would start an instance says that none are run here; what asks for one, that there is none, and why."""
    flow: dict[str, Any] = {"workflow_name": "checkout", "account_id": shop.account_id}
    client.workflows.update(**flow, **BODY)
    instances = client.workflows.instances
    refused = {}
    for name, call in {
        "create": lambda: instances.create(**flow),
        "bulk": lambda: instances.bulk(**flow, body=[{}]),
        "get": lambda: instances.get("i", **flow),
        "step": lambda: instances.step("i", **flow, name="s", type="step"),
        "status": lambda: instances.status.edit("i", **flow, status="terminate"),
        "event": lambda: instances.events.create("e", **flow, instance_id="i", body={}),
    }.items():
        with pytest.raises(APIStatusError, match="runs no instances") as raised:
            call()
        refused[name] = raised.value.response.json()["errors"][0]["code"]

    assert refused == {"create": 10499, "bulk": 10499, "get": 10400, "step": 10400, "status": 10400, "event": 10400}
    deleted = shop.result("POST", "/workflows/checkout/instances/batch/delete", json={"instances": ["a", "b"]})
    assert [entry["id"] for entry in deleted["errors"]] == ["a", "b"]
    assert deleted["deleted"] == []
    assert shop.result("PUT", "/workflows/checkout/instances/terminate?status=running") == {"status": "ok"}
    assert shop.result("GET", "/workflows/checkout/instances/") == []


def test_lists_are_searched_and_paged(shop: CloudAccount) -> None:
    """A search finds parts of names; pages say how many there are, and the one after the last is empty."""
    for name in ("a-one", "a-two", "b-one"):
        shop.result("PUT", f"/workflows/{name}", json=BODY)

    def names(query: str) -> list[str]:
        return [known["name"] for known in shop.result("GET", f"/workflows?{query}")]

    assert names("search=one") == ["a-one", "b-one"]
    assert (names("per_page=2"), names("per_page=2&page=2"), names("page=3")) == (["a-one", "a-two"], ["b-one"], [])
    assert shop.api.get(f"{shop.root}/workflows").json()["result_info"]["total_count"] == 3
    assert shop.refusal("GET", "/workflows?per_page=101") == (400, 10002)
    assert shop.refusal("PUT", "/workflows/-one", json=BODY) == (400, 10002)
    assert shop.refusal("GET", "/workflows/a-one/instances?status=lost") == (400, 10002)


def test_a_workflow_outlives_its_worker(shop: CloudAccount) -> None:
    """Deleting the Worker leaves the Workflow, marked; a Worker of that name wakes it again."""
    shop.result("PUT", "/workflows/checkout", json=BODY)
    shop.result("DELETE", "/workers/scripts/shop")
    left = shop.result("GET", "/workflows/checkout")
    refused = shop.refusal("PUT", "/workflows/checkout", json=BODY)
    shop.put_worker("shop", reachable=False)

    assert left["script_deleted"] is True
    assert refused == (500, 10001)
    assert shop.result("GET", "/workflows/checkout")["script_deleted"] is False


def test_a_jurisdiction_stays(shop: CloudAccount) -> None:
    """The first deploy says where instances are kept; a later one may be silent about it, but not differ."""
    shop.result("PUT", "/workflows/checkout", json=BODY | {"jurisdiction": "eu"})
    shop.result("PUT", "/workflows/checkout", json=BODY)

    assert shop.refusal("PUT", "/workflows/checkout", json=BODY | {"jurisdiction": "us"}) == (400, 10209)
    assert shop.result("GET", "/workflows/checkout")["jurisdiction"] == "eu"
    assert len(shop.result("GET", "/workflows/checkout/versions")) == 2


def test_a_version_of_another_workflow_is_not_found(shop: CloudAccount) -> None:
    """Versions are found below their own Workflow only."""
    shop.result("PUT", "/workflows/one", json=BODY)
    other = shop.result("PUT", "/workflows/two", json=BODY)["version_id"]

    assert shop.refusal("GET", f"/workflows/one/versions/{other}") == (404, 10300)
    assert shop.refusal("GET", "/workflows/three/versions") == (404, 10200)


def test_the_binding_says_that_it_is_not_served(account: CloudAccount) -> None:
    """A Worker with its Workflow's binding runs; starting an instance rejects, as the real binding would."""
    binding = {"type": "workflow", "name": "FLOW", "workflow_name": "checkout", "class_name": "Checkout"}
    account.put_worker("shop", CODE, bindings=[binding])

    said = account.visit(account.hostname("shop")).text

    assert said == "The embedded cloud does not serve the binding FLOW (workflow)"
