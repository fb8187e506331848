"""The stage that every test of releases may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clodo.cloudflare.client import Cloudflare
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import CloudAccount

from .crashing import Crashes
from .stage import DATABASE, Stage


@pytest.fixture
def stage(account: CloudAccount, toolchain: Toolchain, tmp_path: Path) -> Iterator[Stage]:
    """A fresh account with an empty database, and a workspace whose shop says "one"; nothing is released."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    with Cloudflare(account.account_id, account.token, account.cloud.url) as cloudflare:
        stage = Stage(account, folder, toolchain, cloudflare, cloudflare.d1.create(DATABASE).uuid)
        stage.write()
        yield stage


@pytest.fixture(scope="session")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashes]:
    """Starts processes that kill themselves."""
    with Crashes(tmp_path_factory.mktemp("crashes")) as running:
        yield running
