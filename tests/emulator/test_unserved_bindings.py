"""Bindings that the embedded cloud takes at upload and doesn't serve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from clodo.emulator.server import EmbeddedCloud
from tests.emulator.conftest import Project
from tests.fixtures.embedded_cloud import CloudAccount, account_of

#: Kind of binding to a way of using it, and what the upload says besides name and type.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "ai": ("IT.run('model', {})", {}),
    "browser": ("IT.fetch('http://x/')", {}),
    "hyperdrive": ("IT.connectionString", {"id": "0" * 32}),
    "vectorize": ("IT.query([1])", {"index_name": "v"}),
    "workflow": ("IT.create({})", {"workflow_name": "w", "class_name": "W"}),
    "images": ("IT.info(null)", {}),
    "media": ("IT.input(null)", {}),
    "stream": ("IT.videos.list()", {}),
    "vpc_service": ("IT.fetch('http://x/')", {"service_id": "0"}),
    "worker_loader": ("IT.get('x', () => ({}))", {}),
    "odd_thing": ("new IT()", {"some": 1}),
    "mtls_certificate": ("IT.fetch('http://x/')", {"certificate_id": "0"}),
    "dispatch_namespace": ("IT.get('worker')", {"namespace": "n"}),
    "send_email": ("IT.send({})", {}),
    "pipelines": ("IT.send([])", {"pipeline": "p"}),
    "secrets_store_secret": ("IT.get()", {"store_id": "0", "secret_name": "s"}),
}
#: Those of which every method gives a promise, which the Worker may hand to `waitUntil`.
PROMISING = ("browser", "mtls_certificate", "pipelines", "secrets_store_secret", "send_email", "vectorize", "workflow")
CODE = """
const uses = { USES };
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const name = url.pathname.slice(1);
    try {
      const used = uses[name](env[name]);
      if (url.searchParams.has("later")) return new Response("later: " + (await used.catch((error) => error.message)));
      await used;
      return new Response("nothing was said");
    } catch (error) {
      return new Response(error.message);
    }
  },
};
"""


@pytest.fixture(scope="module")
def bound(cloud: EmbeddedCloud) -> Iterator[CloudAccount]:
    """An account with a Worker that has every such binding, each named after its kind."""
    uses = ", ".join(f"{kind}: (IT) => {use}" for kind, (use, _) in KINDS.items())
    bindings = [{"type": kind, "name": kind, **fields} for kind, (_, fields) in KINDS.items()]
    with account_of(cloud, cloud.new_account()) as account:
        account.result("POST", "/workers/dispatch/namespaces", json={"name": "n"})
        account.put_worker("shop", CODE.replace("USES", uses), bindings=bindings)
        yield account


@pytest.mark.parametrize("kind", KINDS)
def test_a_binding_that_nobody_serves_says_so_when_it_is_used(bound: CloudAccount, kind: str) -> None:
    """The upload is accepted and the Worker runs; using the binding throws an error that names it and its kind."""
    said = bound.visit(bound.hostname("shop"), f"/{kind}").text

    assert said == f"The embedded cloud does not serve the binding {kind} ({kind})"


def test_what_promises_rejects(bound: CloudAccount) -> None:
    """Where the real method gives a promise, so does the refusal: one in `waitUntil` doesn't break the answer."""
    said = {kind: bound.visit(bound.hostname("shop"), f"/{kind}?later").text for kind in PROMISING}

    assert said == {kind: f"later: The embedded cloud does not serve the binding {kind} ({kind})" for kind in PROMISING}


#: What wrangler is configured with, and the name of each binding to how it is used.
CONFIGURED: dict[str, Any] = {
    "ai": {"binding": "AI"},
    "ai_search": [{"binding": "SEARCH", "instance_name": "i"}],
    "artifacts": [{"binding": "ARTIFACTS", "namespace": "default"}],
    "browser": {"binding": "BROWSER"},
    "flagship": [{"binding": "FLAGS", "app_id": "a"}],
    "hyperdrive": [{"binding": "HYPERDRIVE", "id": "0" * 32}],
    "images": {"binding": "IMAGES"},
    "media": {"binding": "MEDIA"},
    "mtls_certificates": [{"binding": "CERTIFICATE", "certificate_id": "00000000-0000-4000-8000-000000000000"}],
    "pipelines": [{"binding": "PIPELINE", "stream": "p"}],
    "secrets_store_secrets": [{"binding": "STORED", "store_id": "0" * 32, "secret_name": "s"}],
    "send_email": [{"name": "EMAIL", "destination_address": "somebody@example.com"}],
    "stream": {"binding": "STREAM"},
    "unsafe": {"bindings": [{"name": "ODD", "type": "odd_thing", "some": 1}], "metadata": {"odd": "thing"}},
    "vectorize": [{"binding": "VECTORS", "index_name": "v"}],
    "version_metadata": {"binding": "VERSION"},
    "vpc_services": [{"binding": "SERVICE", "service_id": "0" * 32}],
    "worker_loaders": [{"binding": "LOADER"}],
}
SETTINGS: dict[str, Any] = {
    "limits": {"cpu_ms": 50, "subrequests": 100},
    "logpush": True,
    "observability": {"enabled": True, "head_sampling_rate": 0.5, "logs": {"enabled": True, "invocation_logs": False}},
    "placement": {"mode": "smart"},
}
USES = {
    "AI": "run('model', {})",
    "ARTIFACTS": "list()",
    "BROWSER": "fetch('http://x/')",
    "CERTIFICATE": "fetch('http://x/')",
    "EMAIL": "send({})",
    "FLAGS": "getBooleanValue('x', false)",
    "HYPERDRIVE": "connectionString",
    "IMAGES": "input(null)",
    "LOADER": "get('x', () => ({}))",
    "MEDIA": "input(null)",
    "ODD": "hello()",
    "PIPELINE": "send([])",
    "SEARCH": "search({})",
    "SERVICE": "fetch('http://x/')",
    "STORED": "get()",
    "STREAM": "videos.list()",
    "VECTORS": "query([1])",
}


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_wrangler_deploys_what_nobody_serves(project: Project) -> None:
    """A project with all of them and every setting deploys, twice; each binding says that it isn't served."""
    uses = ", ".join(f"{name}: (IT) => IT.{use}" for name, use in USES.items())
    project.write(**CONFIGURED, **SETTINGS)
    (project.folder / "index.js").write_text(CODE.replace("USES", uses))
    project.run("deploy")
    project.run("deploy")
    said = {name: project.account.visit(project.account.hostname("shop"), f"/{name}").text for name in USES}
    settings = project.account.result("GET", "/workers/scripts/shop/settings")
    kinds = {binding["name"]: binding["type"] for binding in settings["bindings"]}

    assert said == {name: f"The embedded cloud does not serve the binding {name} ({kinds[name]})" for name in USES}
    assert set(kinds) == {*USES, "GREETING", "VERSION"}
    assert {key: settings[key] for key in SETTINGS} == SETTINGS
