"""Make a secret and keep it in the target's block."""

from __future__ import annotations

from prefect import flow

from clodo.secrets.generating import SecretKind
from tasks.secrets import generate_into_block


@flow(flow_run_name="generate {name} of {target}", persist_result=False)
def generate_secret(
    target: str,
    name: str,
    workspace: str = ".",
    kind: SecretKind | None = None,
    prefix: str = "",
    replace: bool = False,
) -> str:
    """
    Make a secret and keep it in the target's block; nobody sees it. The next release brings it to the Worker.

    Args:
        target: Service, environment and customer: api@staging, api@production/acme.
        name: Of the secret; the service must declare it.
        workspace: Folder of the workspace.
        kind: What it is for; what its rotation declares by default, else as it was made before, else api.
        prefix: What a key of kind api begins with.
        replace: Also when one is kept; who uses that one is refused from the next release on.

    Returns:
        The kind it was made as.
    """
    return generate_into_block(workspace, target, name, kind=kind, prefix=prefix, replace=replace)
