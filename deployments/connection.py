"""Which Prefect server a command uses: the configured one, that of `clodo up`, or one started for the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deployments import server as prefect_server


class Source(StrEnum):
    """Where a Prefect server comes from."""

    CONFIGURED = "configured"
    UP = "up"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Connection:
    """
    The Prefect server that is in use.

    Attributes:
        api_url: Root of its API.

        ui_url: Address for a browser.

        source: Configured by the operator, kept by `clodo up`, or embedded: there as long as somebody uses it.
    """

    api_url: str
    ui_url: str
    source: Source


@contextmanager
def prefect_in_use(workspace: Path, *, report: Callable[[str, float], None]) -> Iterator[Connection]:
    """
    Make this process's Prefect use a server, heartbeats off.

    ``PREFECT_API_URL`` (or the active profile) comes first, then the server that runs for *workspace*, then one that is
    started now and ends with the last command that uses it. *report* is told of the start.

    Raises:
        ServerUnavailable: The configured server doesn't answer.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_UI_URL,
        temporary_settings,
    )

    with ExitStack() as stack:
        configured = PREFECT_API_URL.value()
        if configured:
            prefect_server.raise_if_unreachable(configured)
            stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
            ui_url = PREFECT_UI_URL.value() or configured.removesuffix("/api")
            yield Connection(configured, ui_url, Source.CONFIGURED)
            return
        server = stack.enter_context(prefect_server.borrowed(workspace, report=report))
        stack.enter_context(server.in_use())
        yield Connection(server.api_url, server.ui_url, Source.UP if server.is_kept else Source.EMBEDDED)
