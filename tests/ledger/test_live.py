"""What is live."""

import threading
from dataclasses import replace

from clodo.ledger import Ledger, Live
from clodo.ledger.clocks import utc_now


def live(target="api@production", **differences):
    values = dict.fromkeys(
        (
            "release_id", "version_id", "deployment_id", "input_hash", "content_sha256", "script_etag",
            "script_modified_on", "secrets_fingerprint", "migrations_digest",
        ),
        "x",
    )  # fmt: skip
    return Live(
        **values | {"target": target, "recorded_at": utc_now(), "triggers": {"crons": ["* * * * *"]}} | differences
    )


def test_what_is_live_is_read_back(ledger):
    """What was put is what is got; a target nobody deployed has nothing."""
    record = live()

    ledger.live.put(record)

    assert ledger.live.get("api@production") == record
    assert ledger.live.get("web@production") is None


def test_the_newest_record_takes_the_place_of_the_one_before(ledger):
    """A target has one row: what is live now."""
    ledger.live.put(live(version_id="v1"))
    newer = live(version_id="v2", triggers={})

    ledger.live.put(newer)

    assert ledger.live.all() == [newer]


def test_everything_that_is_live_is_listed_by_name(ledger):
    """All targets come sorted, a forgotten one is gone."""
    for target in ("web@production", "api@staging", "Api@production"):
        ledger.live.put(live(target))
    ledger.live.forget("api@staging")
    ledger.live.forget("never@was")

    assert [record.target for record in ledger.live.all()] == ["Api@production", "web@production"]


def test_two_may_record_a_new_target_at_once(place):
    """Two writers of one new target leave one whole row."""
    with Ledger.open(place) as one, Ledger.open(place) as other:
        record = live()
        variants = [replace(record, version_id=f"v{number}", input_hash=f"v{number}") for number in range(20)]
        threads = [
            threading.Thread(target=ledger.live.put, args=(variant,))
            for variant, ledger in zip(variants, [one, other] * 10, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        [row] = one.live.all()
        assert row in variants
