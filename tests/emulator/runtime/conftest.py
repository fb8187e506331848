"""One small embedded cloud for all tests of the data plane; each test names its own scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings

from clodo.wrangler.toolchain import Toolchain
from tests.emulator.runtime.cloud import Cloud

# How long an example takes says more about what else the machine does than about us.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def workerd(toolchain: Toolchain) -> Path:
    """The pinned workerd."""
    return toolchain.workerd


@pytest_asyncio.fixture(scope="session")
async def cloud(workerd: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cloud]:
    """A running cloud, shared."""
    async with Cloud(workerd, tmp_path_factory.mktemp("cloud")) as running:
        yield running
