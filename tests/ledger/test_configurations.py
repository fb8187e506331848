"""Which configuration each release used."""

import pytest

from clodo.errors import BadUsage
from clodo.ledger import Release, ReleaseKind
from clodo.ledger.clocks import utc_now
from clodo.ledger.configurations import digest_of


def release(ledger, name):
    row = Release(
        name, "api@staging", "api-staging", "a" * 32, "all-at-once", "", "me", ReleaseKind.FIRST, "", utc_now()
    )
    ledger.releases.create(row)


def test_what_a_release_used_is_read_back(ledger):
    """What was recorded is what is got, under the same digest whatever the order of keys; others have nothing."""
    release(ledger, "r1")
    content = {"vars.LEVEL": "ünusual", "routes": ["a", "b"], "limits": {"cpu_ms": 50}}

    digest = ledger.configurations.record("r1", content)

    assert ledger.configurations.get("r1") == content
    assert ledger.configurations.get("r2") is None
    assert digest == digest_of(dict(reversed(content.items())))


def test_two_releases_of_one_configuration_share_its_digest(ledger):
    """The same content has one digest, another content another; saying it again changes nothing."""
    for name, level in (("r1", "info"), ("r2", "info"), ("r3", "warn"), ("r3", "late")):
        release(ledger, name)
        ledger.configurations.record(name, {"vars.LEVEL": level})

    digests = ledger.configurations.digests(["r1", "r2", "r3", "r4"])

    assert digests["r1"] == digests["r2"] != digests["r3"]
    assert set(digests) == {"r1", "r2", "r3"}
    assert ledger.configurations.get("r3") == {"vars.LEVEL": "warn"}


def test_what_is_too_large_is_refused(ledger):
    """A configuration larger than any version's settings is refused, not cut."""
    release(ledger, "r1")

    with pytest.raises(BadUsage, match="over the limit"):
        ledger.configurations.record("r1", {"vars.A": "x" * 2_000_000})
