"""What every test may use, and what none may do: talk to the network."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from clodo.settings import Settings
from clodo.wrangler.toolchain import Toolchain, install

pytest_plugins = ["tests.fixtures.prefect_harness", "tests.fixtures.embedded_cloud"]

# How long an example takes depends on who else uses the machine; that is no property of the code.
# Forty examples find what most hundreds would, and what needs more says so.
hypothesis.settings.register_profile(
    "clodo", deadline=None, max_examples=40, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("clodo")

# Whoever starts the tests in the background has Ctrl-C ignored, by them and by every process that they would interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("socket.connect", "socket.sendto"):
        return
    address = arguments[1]
    # Addresses of Unix sockets are strings; the others are (host, port, …).
    if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
        raise AssertionError(f"a test tried to reach {address[0]}; only loopback is allowed")


sys.addaudithook(_refuse_network)


# Whole rehearsals take longest, and there are few in a file; left to the end they would keep one worker busy alone.
_LONG_FIRST = ("demo", "cli", "deployments", "releases", "secrets", "backups", "wrangler")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the rooms whose tests take longest."""
    here = Path(__file__).parent
    ranks = {room: rank for rank, room in enumerate(_LONG_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.relative_to(here).parts[0], len(ranks)))


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    """The pinned node, wrangler and workerd; fetched once per machine, by npm."""
    return install(Settings.from_environment())
