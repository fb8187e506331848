"""Bindings that the embedded cloud takes at upload and doesn't serve."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.embedded_cloud import CloudAccount

USES = """
export default {
  async fetch(request, env) {
    try {
      await (USE);
      return new Response("nothing was said");
    } catch (error) {
      return new Response(error.message);
    }
  },
};
"""


@pytest.mark.parametrize(
    ("kind", "use", "fields"),
    [
        ("ai", "env.IT.run('model', {})", {}),
        ("browser", "env.IT.fetch('http://x/')", {}),
        ("hyperdrive", "env.IT.connect()", {"id": "0" * 32}),
        ("vectorize", "env.IT.query([1])", {"index_name": "v"}),
        ("workflow", "env.IT.create({})", {"workflow_name": "w", "class_name": "W"}),
        ("images", "env.IT.info(request.body)", {}),
        ("mtls_certificate", "env.IT.fetch('http://x/')", {"certificate_id": "0"}),
        ("dispatch_namespace", "env.IT.get('worker')", {"namespace": "n"}),
        ("send_email", "env.IT.send({})", {}),
        ("pipelines", "env.IT.send([])", {"pipeline": "p"}),
        ("secrets_store_secret", "env.IT.get()", {"store_id": "0", "secret_name": "s"}),
    ],
)
def test_a_binding_that_nobody_serves_says_so_when_it_is_used(
    account: CloudAccount, kind: str, use: str, fields: dict[str, Any]
) -> None:
    """The upload is accepted and the Worker runs; using the binding throws an error that names it and its kind."""
    account.put_worker("shop", USES.replace("USE", use), bindings=[{"type": kind, "name": "IT", **fields}])

    said = account.visit(account.hostname("shop")).text

    assert said == f"The embedded cloud does not serve the binding IT ({kind})"
