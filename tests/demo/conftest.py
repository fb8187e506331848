"""The demo's acts, played once for all tests that ask: real wrangler, real workerd, a real Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks import CloudflareAccount
from clodo.cli.demo.rehearsal import Rehearsal, rehearsed, write_workspace
from clodo.emulator.config import AccountKeys
from clodo.emulator.server import EmbeddedCloud
from deployments.embedded_cloud import Cloud


def stage_of(cloud: EmbeddedCloud, keys: AccountKeys, folder: Path) -> Cloud:
    """Write the sample workspace into *folder*, and have it released to the account of *keys*."""
    block = f"demo-{keys.account_id[:12]}"
    CloudflareAccount(
        account_id=keys.account_id,
        api_token=SecretStr(keys.token),
        base_url=cloud.url,
        edge_url=cloud.edge_url,
    ).save(block, overwrite=True)
    write_workspace(folder, "first")
    portfolio = folder / "portfolio.toml"
    text = portfolio.read_text()
    assert 'account = "default"' in text
    portfolio.write_text(text.replace('account = "default"', f'account = "{block}"'))
    return Cloud(
        pid=0,
        url=cloud.url,
        edge_url=cloud.edge_url,
        account_id=keys.account_id,
        token=keys.token,
        subdomain=keys.subdomain,
        zone=keys.zone,
    )


@contextmanager
def played(cloud: EmbeddedCloud, keys: AccountKeys, folder: Path) -> Iterator[Rehearsal]:
    """Play the acts on an account of *cloud*."""
    with rehearsed(folder, stage_of(cloud, keys, folder), say=lambda line: None) as rehearsal:
        yield rehearsal


@pytest.fixture(scope="session")
def rehearsal(
    cloud: EmbeddedCloud, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rehearsal]:
    """The whole rehearsal. Who breaks something puts it back."""
    with played(cloud, cloud.new_account(name="demo"), tmp_path_factory.mktemp("demo")) as rehearsal:
        yield rehearsal
