"""API tokens: kept after Cloudflare took them, rolled, in a block or in the system's keyring."""

from __future__ import annotations

import io
import sys

import keyring
import keyring.backend
import pytest

from blocks import CloudflareAccount
from clodo.cloudflare.client import Cloudflare
from clodo.errors import BadConfiguration, NotAuthorised
from clodo.ledger import Ledger, default_path
from clodo.secrets.token_store import keep_token, resolve_token
from tasks.sites import account_keys, saved
from tests.fixtures.embedded_cloud import CloudAccount
from tests.secrets.shop import Shop


class Memory(keyring.backend.KeyringBackend):
    """A keyring that lasts as long as the test."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.passwords: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.passwords[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.passwords[service, username]


@pytest.fixture
def in_memory():
    """The keyring library, with a keyring in memory."""
    before, memory = keyring.get_keyring(), Memory()
    keyring.set_keyring(memory)
    yield memory
    keyring.set_keyring(before)


@pytest.fixture
def locked():
    """The keyring library on a machine without a keyring."""
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def shop(tmp_path, account: CloudAccount, prefect_server, capsys) -> Shop:
    """A workspace whose account's token is kept in a block."""
    return Shop.open(tmp_path, account, capsys)


def is_good(shop: Shop, token: str) -> bool:
    """Ask Cloudflare whether it takes a token."""
    with Cloudflare(shop.account.account_id, token, shop.account.cloud.url) as cloudflare:
        try:
            cloudflare.user.verify_token()
        except NotAuthorised:
            return False
    return True


def test_a_token_is_rolled_and_the_old_value_is_refused(shop):
    """The block has the new value, which works; the old one does not; it is in the audit trail, without a value."""
    told = shop.told("secrets", "rotate", "--token", shop.block, "--yes")

    new = account_keys(shop.block).token
    assert new != shop.account.token
    assert (is_good(shop, new), is_good(shop, shop.account.token)) == (True, False)
    with Ledger.open(default_path(shop.folder)) as ledger:
        (row,) = ledger.audit.list(subject=shop.block)
    assert (row.action, row.detail["token_id"]) == ("token-rolled", told["token_id"])
    assert new not in "".join(shop.printed)
    block = saved(CloudflareAccount, shop.block)
    assert (block.base_url, block.edge_url) == (shop.account.cloud.url, shop.account.cloud.edge_url)


def test_a_token_can_live_in_the_keyring(shop, in_memory, monkeypatch):
    """The block then says only where; releases read it there; a wrong token is not kept."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(shop.account.token + "\n"))
    shop.told("secrets", "token", shop.block, "--keyring")
    block = saved(CloudflareAccount, shop.block)
    monkeypatch.setattr(sys, "stdin", io.StringIO("a-token-that-nobody-issued-0123456789\n"))
    refused = shop.refused("secrets", "token", shop.block, status=12)

    assert block.api_token.get_secret_value() == f"keyring:{shop.block}"
    assert in_memory.passwords == {("clodo", shop.block): shop.account.token}
    assert account_keys(shop.block).token == shop.account.token
    with block.get_client() as cloudflare:
        assert cloudflare.user.verify_token().status == "active"
    assert "nobody-issued" not in refused


@pytest.mark.exhaustive
def test_a_token_that_is_rolled_stays_where_it_is_kept(shop, in_memory):
    """In the keyring it stays in the keyring."""
    with_reference = {
        "account_id": shop.account.account_id,
        "api_token": keep_token(shop.block, shop.account.token),
        "base_url": shop.account.cloud.url,
    }
    CloudflareAccount.model_validate(with_reference).save(shop.block, overwrite=True)

    shop.told("secrets", "rotate", "--token", shop.block, "--yes")

    assert saved(CloudflareAccount, shop.block).api_token.get_secret_value() == f"keyring:{shop.block}"
    assert is_good(shop, in_memory.passwords["clodo", shop.block])
    assert not is_good(shop, shop.account.token)


def test_a_block_that_is_not_there_needs_an_account(shop, monkeypatch):
    """Without its id there is nothing to save; with it the block is made."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(shop.account.token))

    said = shop.refused("secrets", "token", f"{shop.block}-new", status=2)

    assert f"{shop.block}-new" in said


def test_a_keyring_that_lacks_the_token_says_so(in_memory):
    """What is no reference is the token itself."""
    assert resolve_token("a-token") == "a-token"
    with pytest.raises(BadConfiguration, match='no token called "mine"'):
        resolve_token("keyring:mine")


def test_a_machine_without_a_keyring_says_so(locked):
    """Both ways, with what to do instead."""
    with pytest.raises(BadConfiguration, match="no keyring"):
        keep_token("mine", "x")
    with pytest.raises(BadConfiguration, match="no keyring"):
        resolve_token("keyring:mine")
