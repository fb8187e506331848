"""Write feature flags to KV as their files say."""

from __future__ import annotations

from prefect import flow

from tasks.flags import push_flags as push_them
from tasks.sites import open_site


@flow(flow_run_name="push flags of {targets}", persist_result=False)
def push_flags(targets: list[str], workspace: str = ".") -> list[str]:
    """
    Write the flags of targets to KV, as their files say, and read them back.

    Args:
        targets: Services and environments: api@staging, api@production/acme.
        workspace: Folder of the workspace.

    Returns:
        The targets whose flags were written.
    """
    with open_site(workspace) as site:
        return list(push_them(site, [site.workspace.find(target) for target in targets]))
