"""Restores on the embedded cloud: what comes back is what was there, and what fails leaves things as they were."""

from __future__ import annotations

from clodo.backups.restoring.plan import Wish
from tests.backups.restores import everything, keys, restorer


def test_what_was_deleted_comes_back_under_its_name(fleet):
    """Database and namespace are gone; afterwards new ones of the same names hold every row, key and trigger."""
    manifest = fleet.back_up()
    rows, pairs = everything(fleet, fleet.database_id), keys(fleet, fleet.namespace_id)
    fleet.cloudflare.d1.delete(fleet.database_id)
    fleet.cloudflare.kv.delete(fleet.namespace_id)

    restored = restorer(fleet).restore(Wish(), reason="disaster")

    database, namespace = restored.resources
    assert (restored.snapshot, restored.safety, restored.was_resumed) == (manifest.id, None, False)
    assert (database.name, database.items, database.way) == ("shop-db", 7, "create")
    assert (namespace.items, namespace.expired) == (3, 0)
    assert everything(fleet, database.id) == rows
    assert keys(fleet, namespace.id) == pairs
    fleet.cloudflare.d1.query(database.id, "INSERT INTO notes VALUES(2, 'third')")
    assert everything(fleet, database.id)["log"][-1] == ["noted third"]
