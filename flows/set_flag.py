"""Set a feature flag."""

from __future__ import annotations

from typing import Any

from prefect import flow

from clodo.flags.files import SetFlag
from tasks.flags import set_flag as set_it


@flow(flow_run_name="set {flag} of {service}", persist_result=False)
def set_flag(
    service: str,
    flag: str,
    value: bool | int | float | str | list[Any] | dict[str, Any] | None,
    environment: str | None = None,
    customer: str | None = None,
    percent: float | None = None,
    workspace: str = ".",
) -> list[str]:
    """
    Set a feature flag in its file and, where flags go through KV, for the running Workers too; all of it or nothing.

    Args:
        service: By its name.
        flag: Declared in config/flags/<service>.toml.
        value: Of the flag's type.
        environment: Where; the flag's default without one.
        customer: For whom.
        percent: Of the subjects that get the value there; the others get the default.
        workspace: Folder of the workspace.

    Returns:
        The targets that have it already; empty when it comes with their next release.
    """
    return list(set_it(workspace, service, SetFlag(flag, value, environment, customer, percent)))
