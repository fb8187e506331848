"""The real wrangler's queue commands."""

from __future__ import annotations

import pytest

from tests.emulator.conftest import Project


def test_wrangler_deploys_a_producer_and_a_consumer(project: Project) -> None:
    """A deploy with a queue's producer and consumer leaves both, as the configuration says."""
    project.account.result("POST", "/queues", json={"queue_name": "orders"})
    project.write(
        queues={
            "producers": [{"binding": "QUEUE", "queue": "orders"}],
            "consumers": [{"queue": "orders", "max_batch_size": 7, "max_retries": 2, "dead_letter_queue": "dead"}],
        }
    )
    project.run("deploy", "--no-x-provision")

    (queue,) = project.account.result("GET", "/queues?name=orders")
    (consumer,) = queue["consumers"]
    assert (consumer["settings"]["batch_size"], consumer["settings"]["max_retries"]) == (7, 2)
    assert (consumer["dead_letter_queue"], queue["producers_total_count"]) == ("dead", 1)


@pytest.mark.exhaustive
def test_every_queue_command_of_wrangler_works(project: Project) -> None:
    """List, update, pause, resume, purge, consumers of both kinds added and removed, delete."""
    project.run("deploy")
    for words in (
        ("create", "orders", "--delivery-delay-secs", "3"),
        ("update", "orders", "--message-retention-period-secs", "600"),
        ("pause-delivery", "orders"),
        ("resume-delivery", "orders"),
        ("purge", "orders", "--force"),
        ("consumer", "add", "orders", "shop", "--batch-size", "3"),
        ("info", "orders"),
        ("consumer", "remove", "orders", "shop"),
        ("consumer", "http", "add", "orders", "--visibility-timeout-secs", "9"),
    ):
        project.run("queues", *words)
    queue = project.account.result("GET", "/queues")[0]
    listed = project.run("queues", "list")
    project.run("queues", "consumer", "http", "remove", "orders")
    project.run("queues", "delete", "orders")

    assert "orders" in listed
    assert queue["settings"] == {"delivery_delay": 3, "message_retention_period": 600}
    assert queue["consumers"][0]["settings"]["visibility_timeout_ms"] == 9000
    assert project.account.result("GET", "/queues") == []
