"""Replace a secret so that nobody who still has the one before is refused too early."""

from __future__ import annotations

from prefect import flow

from tasks.rotations import rotate


@flow(flow_run_name="rotate {name} of {target}", persist_result=False)
def rotate_secret(
    target: str, name: str, workspace: str = ".", at_once: bool = False, without_probe: bool = False
) -> dict[str, str | None]:
    """
    Release a new value beside the one before, and see through the running Worker that it accepts both.

    The one before is retired after its time of grace by `retire-secrets`.

    Args:
        target: Service, environment and customer: api@staging, api@production/acme.
        name: Of the secret.
        workspace: Folder of the workspace.
        at_once: Retire the value before at once.
        without_probe: Also when no probe is declared, so that nothing shows which values the Worker accepts.

    Returns:
        The rotation: its id, state and the time at which the value before is retired.
    """
    record = rotate(workspace, target, name, at_once=at_once, without_probe=without_probe)
    return {
        "id": record.id,
        "target": record.target,
        "name": record.name,
        "state": record.state.value,
        "retire_at": record.retire_at.isoformat() if record.retire_at else None,
    }
