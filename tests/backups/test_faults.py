"""Bad days while a backup runs: what is published is right, and what is not right is not published."""

from __future__ import annotations

import random
from contextlib import contextmanager, nullcontext, suppress

import pytest

from clodo.backups.vault import Vault
from clodo.backups.verification import Level
from clodo.cloudflare.breaker import Breakers
from clodo.cloudflare.budget import UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import Clock
from clodo.errors import ClodoError, PartlyDone, VaultUnavailable
from tests.emulator.r2.conftest import keys_of

#: More than an undisturbed backup sends, so that each of its requests is struck.
REQUESTS = 12
ONCE = [
    {"action": "answer", "status": 500},
    {"action": "answer", "status": 429, "code": 971, "retry_after": 1},
    {"action": "reset"},
    {"action": "malformed"},
]
ALWAYS = {"action": "answer", "status": 503, "times": None}
ALL = [(fault, nth) for fault in [*ONCE, ALWAYS] for nth in range(1, REQUESTS + 1)]


class Impatient:
    """The account through a client that waits for nothing."""

    def __init__(self, fleet):
        self._fleet = fleet
        self.cloudflare = Cloudflare(
            fleet.account.account_id,
            fleet.account.token,
            fleet.account.cloud.url,
            budget=UnlimitedBudget(),
            breakers=Breakers(),
            clock=Clock(sleep=lambda seconds: None),
        )

    def account_of(self, target):
        return self

    @property
    def zones(self):
        return ()

    def databases(self, name):
        return self.cloudflare.d1.get_by_name(name).uuid

    def namespaces(self, title):
        return self.cloudflare.kv.get_by_title(title).id


@contextmanager
def struck(fleet, fault):
    """Let requests of the API go wrong for a while."""
    cloud = fleet.account.cloud
    armed = cloud.add_fault(**fault)
    try:
        yield
    finally:
        cloud.clear_faults(armed)


def check(fleet, fault, nth):
    backups = fleet.open()
    account = Impatient(fleet)
    path = f"accounts/{fleet.account.account_id}"
    manifest = None
    # What passes is survived; what stays may be told as an error.
    told = suppress(ClodoError) if fault is ALWAYS else nullcontext()
    with account.cloudflare, struck(fleet, fault | {"nth": nth, "path": path}), told:
        manifest = backups.create(account.account_of)

    for item in backups.all():
        assert backups.verify(item.record.id, Level.RESTORE).is_good
    if fault is not ALWAYS:
        assert manifest.is_good
    elif manifest is not None and manifest.missing:
        with pytest.raises(PartlyDone, match="is missing"):
            backups.raise_unless_good(manifest)
    assert fleet.back_up().is_good


@pytest.mark.parametrize(("fault", "nth"), random.Random(20261120).sample(ALL, 3))
def test_a_bad_day_of_the_api_leaves_nothing_wrong(fleet, fault, nth):
    """A fault that passes is survived; one that stays is told, and the next run is good. A sample."""
    check(fleet, fault, nth)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("fault", "nth"), ALL)
def test_any_bad_day_of_the_api_leaves_nothing_wrong(fleet, fault, nth):
    """The same, at each request."""
    check(fleet, fault, nth)


def test_a_vault_that_fails_is_told_and_nothing_is_published(fleet):
    """A bucket that is gone takes nothing; the folder beside it has no snapshot either, and the next run is good."""
    keys = keys_of(fleet.account)
    options = {
        "endpoint": keys.endpoint,
        "access_key_id": keys.access_key,
        "secret_access_key": keys.secret,
        "region": "auto",
        "virtual_hosted_style_request": "false",
    }
    here = Vault.open("here", str(fleet.root / "here"))
    gone = Vault.open("gone", "s3://gone", options)

    with pytest.raises(VaultUnavailable, match="The vault gone"):
        fleet.back_up(here, gone)

    assert here.snapshots() == []
    fleet.account.result("POST", "/r2/buckets", json={"name": "gone"})
    manifest = fleet.back_up(here, gone)
    assert "d1/shop-db: a run before this one had read it" in fleet.told
    assert all(
        fleet.open(here, gone).verify(manifest.id, Level.RESTORE, vault=name).is_good for name in ("here", "gone")
    )
