"""What an operator saves about a vault."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from blocks import Vault

HUSH = "AGE-SECRET-KEY-1HUSH"


def test_a_vault_gives_what_reads_and_writes_there(tmp_path):
    """A folder is made; it is called as the caller says."""
    vault = Vault(url=str(tmp_path / "vault")).get_client("offsite")

    assert vault.name == "offsite"
    assert vault.snapshots() == []


@pytest.mark.parametrize(
    "values",
    [
        {"url": "ftp://somewhere"},
        {"url": "s3://key:hush-0815@bucket"},
        {"url": "/folder", "identity": "hush-0815"},
    ],
)
def test_what_can_not_be_one_is_refused_without_being_quoted(values):
    """Unknown places, credentials in the URL, and identities that are none."""
    with pytest.raises(ValidationError) as raised:
        Vault(**values)

    assert "hush-0815" not in str(raised.value)


def test_a_private_key_is_masked():
    """Whoever reads the block's representation learns nothing."""
    vault = Vault(url="/folder", identity=HUSH, options={"secret_access_key": "hush-0815"})

    assert HUSH not in repr(vault)
    assert "hush-0815" not in repr(vault)
