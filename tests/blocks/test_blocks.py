"""What an operator saves: valid, described, and masked wherever somebody reads it."""

from __future__ import annotations

import json

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import ValidationError

from blocks import ALL_BLOCKS, CloudflareAccount, ServiceSecrets

ACCOUNT_ID = "0123456789abcdef0123456789abcdef"
HUSH = "hush-2f61a9"


@pytest.mark.parametrize("block", ALL_BLOCKS)
class TestAll(BlockStandardTestSuite):
    """Prefect's own conventions for blocks that others install."""

    @pytest.fixture
    def block(self, block: type[Block]) -> type[Block]:
        return block

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """The logo is a link that a browser fetches; tests have no network to look at the picture."""
        assert str(block._logo_url).startswith("https://")


def test_the_client_talks_to_the_account_of_the_block():
    """A client has the block's account and API root."""
    account = CloudflareAccount(account_id=ACCOUNT_ID, api_token=HUSH, base_url="http://127.0.0.1:8787/client/v4/")

    with account.get_client() as cloudflare:
        assert cloudflare.account_id == ACCOUNT_ID
        assert cloudflare.base_url == "http://127.0.0.1:8787/client/v4"


def test_secrets_of_a_customer_include_those_of_the_environment():
    """What a customer's target names itself counts more than what all of its environment's targets share."""
    secrets = ServiceSecrets(
        targets={
            "api@production": {"KEY": "shared", "SALT": "salt"},
            "api@production/acme": {"KEY": "own"},
            "api@staging": {"OTHER": "x"},
        }
    )

    values = {name: value.get_secret_value() for name, value in secrets.values_for("api@production/acme").items()}

    assert values == {"KEY": "own", "SALT": "salt"}
    assert set(secrets.values_for("api@production/globex")) == {"KEY", "SALT"}
    assert secrets.values_for("web@production") == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda: ServiceSecrets(targets={"api": {"KEY": HUSH}}),
        lambda: ServiceSecrets(targets={"api@production": {"1KEY": HUSH}}),
        lambda: ServiceSecrets(targets={"api@production": HUSH}),
        lambda: ServiceSecrets(targets={"api@production": {"KEY": [HUSH]}}),
        lambda: CloudflareAccount(account_id="not hex", api_token=HUSH),
        lambda: CloudflareAccount(account_id=ACCOUNT_ID, api_token=HUSH, base_url="ftp://x"),
    ],
)
def test_a_complaint_never_quotes_a_value(make):
    """A block that makes no sense is refused without repeating any secret."""
    with pytest.raises(ValidationError) as caught:
        make()

    assert HUSH not in str(caught.value)
    assert HUSH not in repr(caught.value.errors(include_input=False))


@pytest.mark.parametrize("url", ["http://api.example.com/client/v4", "http://10.0.0.8", "127.0.0.1:8787"])
def test_a_token_is_never_sent_in_clear_over_a_network(url):
    """Plain http is for loopback only."""
    with pytest.raises(ValidationError):
        CloudflareAccount(account_id=ACCOUNT_ID, api_token=HUSH, base_url=url)


def test_saved_secrets_come_back_whole_and_are_masked_by_the_api(prefect_server):
    """A saved block loads with its values, while whoever lists blocks sees names only."""
    CloudflareAccount(account_id=ACCOUNT_ID, api_token=HUSH).save("masked", overwrite=True)
    ServiceSecrets(targets={"api@production": {"KEY": HUSH}, "api@production/acme": {"KEY": HUSH}}).save(
        "masked", overwrite=True
    )

    with get_client(sync_client=True) as client:
        listed = client.request("POST", "/block_documents/filter", json={}).json()

    assert CloudflareAccount.load("masked").api_token.get_secret_value() == HUSH
    assert ServiceSecrets.load("masked").values_for("api@production/acme")["KEY"].get_secret_value() == HUSH
    assert HUSH not in json.dumps(listed)
    shown = [document["data"] for document in listed if document["name"] == "masked" and "targets" in document["data"]]
    assert shown == [{"targets": {"api@production": {"KEY": "********"}, "api@production/acme": {"KEY": "********"}}}]
    assert HUSH not in repr(ServiceSecrets.load("masked")) + repr(CloudflareAccount.load("masked"))
