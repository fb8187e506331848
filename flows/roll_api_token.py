"""Give an account's API token a new value."""

from __future__ import annotations

from prefect import flow

from tasks.tokens import roll_token


@flow(flow_run_name="roll the API token of {account}", persist_result=False)
def roll_api_token(account: str = "default", workspace: str = ".") -> str:
    """
    Give the API token of an account's block a new value, keep it, and see that it is good and the old one is not.

    Args:
        account: Name of the CloudflareAccount block.
        workspace: Folder of the workspace, for the audit trail.

    Returns:
        The token's id, which stays.
    """
    return roll_token(workspace, account)
