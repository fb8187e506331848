"""Applications of containers over HTTP: kept as they are deployed; nothing of them runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudflare import Cloudflare

from tests.emulator.conftest import Project
from tests.fixtures.embedded_cloud import CloudAccount

IMAGE = "registry.cloudflare.com/0/app:1"
BODY: dict[str, Any] = {
    "name": "app",
    "configuration": {"image": IMAGE, "instance_type": "lite"},
    "durable_objects": {"namespace_id": "0" * 32},
    "instances": 0,
    "max_instances": 2,
    "scheduling_policy": "default",
}


def test_the_official_sdk_reads_every_answer(account: CloudAccount) -> None:
    """An application is made, listed, changed, rolled out and deleted by a client that believes nothing."""
    client: Any = Cloudflare(
        api_token=account.token, base_url=account.cloud.url, max_retries=0, _strict_response_validation=True
    )
    me = {"account_id": account.account_id}
    applications = client.containers.applications

    made = applications.create(**me, **BODY)
    listed = [known.id for known in applications.list(**me)]
    others = list(applications.list(**me, image="other"))
    changed = applications.edit(made.id, **me, max_instances=5)
    rolled = applications.rollouts.create(
        made.id,
        **me,
        description="again",
        strategy="rolling",
        kind="full_auto",
        step_percentage=100,
        target_configuration={"image": "other"},
    )
    read = applications.get(made.id, **me)
    gone = applications.delete(made.id, **me)
    client.close()

    assert (made.version, made.configuration.image, made.durable_objects.namespace_id) == (1, IMAGE, "0" * 32)
    assert (listed, others) == ([made.id], [])
    assert (changed.max_instances, changed.version) == (5, 1)
    assert (rolled.status, rolled.current_version, rolled.target_version) == ("completed", 1, 2)
    assert (read.configuration.image, read.configuration.instance_type, read.max_instances) == ("other", "lite", 5)
    assert gone.message
    assert account.refusal("GET", f"/containers/applications/{made.id}")[0] == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": ""}, 400),
        ({"configuration": {}}, 400),
        ({"configuration": "x"}, 400),
        ({"max_instances": True}, 400),
        ({"durable_objects": {}}, 400),
        ({"scheduling_policy": "moon"}, 400),
        ({}, 409),
    ],
)
def test_what_is_no_application_is_refused(account: CloudAccount, change: dict[str, Any], status: int) -> None:
    """Wrong types, missing images and names that are taken make nothing."""
    account.result("POST", "/containers/applications", json=BODY)

    assert account.refusal("POST", "/containers/applications", json=BODY | change)[0] == status
    assert len(account.result("GET", "/containers/applications?name=app")) == 1


CODE = """
import { DurableObject } from "cloudflare:workers";
export class App extends DurableObject {
  async ask() { return String(this.ctx.container); }
}
export default {
  async fetch(request, env) { return new Response(await env.APP.get(env.APP.idFromName("a")).ask()); },
};
"""


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_wrangler_deploys_a_container(project: Project) -> None:
    """A deploy makes the application, one with another image rolls it out; the Worker runs, without a container."""
    project.write(
        containers=[{"class_name": "App", "image": IMAGE, "max_instances": 2, "name": "app"}],
        durable_objects={"bindings": [{"name": "APP", "class_name": "App"}]},
        migrations=[{"tag": "v1", "new_sqlite_classes": ["App"]}],
    )
    (project.folder / "index.js").write_text(CODE)
    project.run("deploy")
    (first,) = project.account.result("GET", "/containers/applications")
    project.write(containers=[{"class_name": "App", "image": IMAGE[:-1] + "2", "max_instances": 3, "name": "app"}])
    (project.folder / "index.js").write_text(CODE)
    project.run("deploy")
    (second,) = project.account.result("GET", "/containers/applications")
    (namespace,) = project.account.result("GET", "/workers/durable_objects/namespaces")

    assert first["durable_objects"] == {"namespace_id": namespace["id"]}
    assert (second["id"], second["max_instances"], second["version"]) == (first["id"], 3, 2)
    assert second["configuration"]["image"].endswith("/app:2")
    assert project.account.visit(project.account.hostname("shop")).text == "undefined"
    assert [known["name"] for known in json.loads(project.run("containers", "list", "--json"))] == ["app"]
    assert json.loads(project.run("containers", "instances", first["id"], "--json")) == []
