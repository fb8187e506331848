"""What tokens saw of domains, kept for minutes."""

from datetime import timedelta

from clodo.ledger.clocks import utc_now


def test_what_was_seen_is_known_until_it_is_old(ledger):
    """The newest of each key counts; what is older than asked for is as good as nothing."""
    now = utc_now()
    ledger.zones.put("a", {"zones": [1]}, now - timedelta(minutes=9))
    ledger.zones.put("a", {"zones": [2]}, now)

    assert ledger.zones.get("a", since=now - timedelta(minutes=5)) == ({"zones": [2]}, now)
    assert ledger.zones.get("a", since=now + timedelta(seconds=1)) is None
    assert ledger.zones.get("b", since=now) is None
