"""Pages' API, read by the official SDK with its strictest validation."""

from __future__ import annotations

from typing import Any

from cloudflare import Cloudflare

from tests.emulator.pages.test_pages import deploy
from tests.fixtures.embedded_cloud import CloudAccount


def test_projects_and_deployments_validate(account: CloudAccount) -> None:
    """Every operation of projects, deployments and domains gives what the schema promises."""
    me: Any = {"account_id": account.account_id}
    name = f"sdk-{account.account_id[:8]}"
    where: Any = {"project_name": name, **me}
    with Cloudflare(
        api_token=account.token, base_url=account.cloud.url, max_retries=0, _strict_response_validation=True
    ) as client:
        projects = client.pages.projects

        made = projects.create(**me, name=name, production_branch="trunk")
        edited = projects.edit(name, **me, production_branch="main")
        deployment = deploy(account, name, {"/index.html": b"home"})
        deployments = projects.deployments
        deployments.retry(deployment["id"], **where)
        deployments.rollback(deployment["id"], **where)
        domain = projects.domains.create(name, **me, name=f"www.{account.zone}")

        assert (made.production_branch, edited.production_branch) == ("trunk", "main")
        assert projects.get(name, **me).subdomain == f"{name}.pages.dev"
        assert [one.environment for one in deployments.list(name, **me)] == ["production", "production"]
        assert deployments.get(deployment["id"], **where).latest_stage.status == "success"
        assert deployments.history.logs.get(deployment["id"], **where).total == 1
        assert [one.status for one in projects.domains.list(name, **me)] == ["active"]
        assert projects.domains.get(domain.name, **where).zone_tag == account.zone_id
        assert projects.get_upload_token(name, **me).jwt
        projects.domains.delete(domain.name, **where)
        projects.delete(name, **me)
        assert list(projects.list(**me)) == []
