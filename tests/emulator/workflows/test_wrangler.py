"""The real wrangler's commands for Workflows."""

from __future__ import annotations

import json

import pytest

from tests.emulator.conftest import Project

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(900)]

FLOW = """
import { WorkflowEntrypoint } from "cloudflare:workers";
export class Checkout extends WorkflowEntrypoint {
  async run(event, step) {}
}
export default {
  async fetch(request, env) {
    try {
      return Response.json(await env.FLOW.create());
    } catch (error) {
      return new Response(error.message);
    }
  },
};
"""


def test_wrangler_deploys_a_workflow_and_knows_it(project: Project) -> None:
    """A deploy makes the Workflow, the next one a version; list, describe, trigger and delete say how it is."""
    project.write(workflows=[{"name": "checkout", "binding": "FLOW", "class_name": "Checkout"}])
    (project.folder / "index.js").write_text(FLOW)
    first = project.run("deploy")
    project.run("deploy")
    listed = json.loads(project.run("workflows", "list", "--json"))
    described = json.loads(project.run("workflows", "describe", "checkout", "--json"))
    instances = json.loads(project.run("workflows", "instances", "list", "checkout", "--json"))
    latest = project.attempt("workflows", "instances", "describe", "checkout", "latest")
    one = project.attempt("workflows", "instances", "terminate", "checkout", "one")
    triggered = project.attempt("workflows", "trigger", "checkout", "{}")
    versions = project.account.result("GET", "/workflows/checkout/versions")
    visited = project.account.visit(project.account.hostname("shop")).text
    project.run("workflows", "instances", "terminate-all", "checkout")
    project.run("workflows", "delete", "checkout")
    missing = project.attempt("workflows", "describe", "checkout")

    assert "workflow: checkout" in first
    assert [known["name"] for known in listed] == ["checkout"]
    assert (described["script_name"], described["class_name"]) == ("shop", "Checkout")
    assert [described["latest_version"]["id"], len(versions)] == [versions[0]["id"], 2]
    assert instances == []
    assert "There are no deployed instances" in latest.stderr
    assert "runs no instances of them [code: 10400]" in one.stderr.replace(". [", " [")
    assert "runs no instances of them: checkout can't be started here. [code: 10499]" in triggered.stderr
    assert (one.returncode, triggered.returncode, missing.returncode) == (1, 1, 1)
    assert "workflows.api.error.workflow.not_found [code: 10200]" in missing.stderr
    assert visited == "The embedded cloud does not serve the binding FLOW (workflow)"
