"""Event subscriptions: which events of an account's products become messages in which queue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clodo.emulator.clock import new_id, now
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError
from clodo.emulator.queues.producing import Producing
from clodo.emulator.queues.store import Queues
from clodo.emulator.runtime.ports import BindingRefused, QueueMessage

#: Assumed, as are the statuses.
INVALID_SUBSCRIPTION = 10021
SUBSCRIPTION_NOT_FOUND = 10007

#: Types of sources, and what each needs besides: the API's schema, and wrangler's for the last four.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "images": (),
    "kv": (),
    "r2": (),
    "superSlurper": (),
    "vectorize": (),
    "workersAi.model": ("model_name",),
    "workersBuilds.worker": ("worker_name",),
    "workers.script": ("script_tag",),
    "workflows.workflow": ("workflow_name",),
    "artifacts": (),
    "artifacts.repo": ("namespace", "repo_name"),
    "browserRun": (),
    "email.sending": ("zone_id", "domain"),
}

_SCHEMA = (
    """
    CREATE TABLE event_subscriptions(
        id TEXT PRIMARY KEY, account_id TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, events TEXT NOT NULL,
        queue_id TEXT NOT NULL REFERENCES queues(id) ON DELETE CASCADE, enabled INTEGER NOT NULL,
        created_at TEXT NOT NULL, modified_at TEXT NOT NULL, UNIQUE(account_id, source)
    ) WITHOUT ROWID
    """,
)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Events of one source that go to one queue."""

    id: str
    account_id: str
    name: str
    source: dict[str, str]
    events: list[str]
    queue_id: str
    enabled: bool
    created_at: str
    modified_at: str


class Subscriptions:
    """The event subscriptions of every account."""

    def __init__(self, database: Database, queues: Queues, producing: Producing) -> None:
        database.upgrade("event subscriptions", _SCHEMA)
        self._database = database
        self._queues = queues
        self._producing = producing

    def of_account(self, account_id: str) -> list[Subscription]:
        """Return the account's subscriptions, oldest first."""
        sql = "SELECT * FROM event_subscriptions WHERE account_id = ? ORDER BY created_at, id"
        return [_subscription(row) for row in self._database.rows(sql, (account_id,))]

    def find(self, account_id: str, subscription_id: str) -> Subscription:
        """
        Return a subscription by id.

        Raises:
            ApiError: There is none.
        """
        sql = "SELECT * FROM event_subscriptions WHERE account_id = ? AND id = ?"
        row = self._database.row(sql, (account_id, subscription_id))
        if row is None:
            raise ApiError(404, SUBSCRIPTION_NOT_FOUND, "Subscription not found.")
        return _subscription(row)

    def create(self, account_id: str, body: Mapping[str, Any]) -> Subscription:
        """
        Make the subscription that *body* describes.

        Raises:
            ApiError: Something is missing or malformed, the queue isn't there, or the source has a subscription.
        """
        moment = now()
        source = _source(body.get("source"))
        row: Row = {
            "id": new_id(),
            "account_id": account_id,
            "name": _name(body.get("name")),
            # With sorted keys, since the source is compared as text.
            "source": json.dumps(source, sort_keys=True),
            "events": _events(body.get("events")),
            "queue_id": self._destination(account_id, body.get("destination")),
            "enabled": _flag(body.get("enabled", True)),
            "created_at": moment,
            "modified_at": moment,
        }
        taken = "SELECT id FROM event_subscriptions WHERE account_id = ? AND source = ?"
        if self._database.row(taken, (account_id, row["source"])) is not None:
            raise ApiError(409, INVALID_SUBSCRIPTION, f"A subscription for source '{source['type']}' already exists.")
        self._database.insert("event_subscriptions", row)
        return self.find(account_id, row["id"])

    def change(self, subscription: Subscription, body: Mapping[str, Any]) -> Subscription:
        """
        Change what *body* names; the source stays.

        Raises:
            ApiError: A value is malformed, or the queue isn't there.
        """
        name = _name(body.get("name", subscription.name))
        events = _events(body.get("events", subscription.events))
        enabled = _flag(body.get("enabled", subscription.enabled))
        queue_id = subscription.queue_id
        if "destination" in body:
            queue_id = self._destination(subscription.account_id, body["destination"])
        self._database.run(
            "UPDATE event_subscriptions SET name = ?, events = ?, enabled = ?, queue_id = ?, modified_at = ?"
            " WHERE id = ?",
            (name, json.dumps(events), enabled, queue_id, now(), subscription.id),
        )
        return self.find(subscription.account_id, subscription.id)

    def delete(self, subscription: Subscription) -> None:
        """Remove a subscription."""
        self._database.run("DELETE FROM event_subscriptions WHERE id = ?", (subscription.id,))

    async def publish(self, account_id: str, source: Mapping[str, str], event: str, payload: Mapping[str, Any]) -> None:
        """
        Put an event into the queue that wants it, if there is one.

        Source:
            https://developers.cloudflare.com/queues/event-subscriptions/events-schemas/
        """
        for subscription in self.of_account(account_id):
            if not subscription.enabled or subscription.source != source or event not in subscription.events:
                continue
            queue = self._queues.find(account_id, subscription.queue_id)
            message = {
                "type": f"cf.{source['type']}.{event}",
                "source": dict(source),
                "payload": dict(payload),
                "metadata": {
                    "accountId": account_id,
                    "eventSubscriptionId": subscription.id,
                    "eventSchemaVersion": 1,
                    "eventTimestamp": f"{now()[:23]}Z",
                },
            }
            body = json.dumps(message, separators=(",", ":")).encode()
            try:
                await self._producing.send(account_id, queue.name, [QueueMessage(body, "json", None)])
            except BindingRefused:
                # The queue is full: the event is lost, and what it tells of has happened all the same.
                return

    def _destination(self, account_id: str, destination: Any) -> str:
        if not isinstance(destination, Mapping) or destination.get("type") != "queues.queue":
            raise ApiError(400, INVALID_SUBSCRIPTION, "destination must have the type queues.queue and a queue_id.")
        return self._queues.find(account_id, str(destination.get("queue_id"))).id


def _source(source: Any) -> dict[str, str]:
    kind = source.get("type") if isinstance(source, Mapping) else None
    if not isinstance(kind, str) or kind not in SOURCES:
        raise ApiError(400, INVALID_SUBSCRIPTION, f"source.type must be one of {', '.join(SOURCES)}.")
    for name in SOURCES[kind]:
        if not isinstance(source.get(name), str) or not source[name]:
            raise ApiError(400, INVALID_SUBSCRIPTION, f"source of type {kind} needs a {name}.")
    return {"type": kind, **{name: source[name] for name in SOURCES[kind]}}


def _name(name: Any) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= 255:
        raise ApiError(400, INVALID_SUBSCRIPTION, "name must be a string of 1 to 255 characters.")
    return name


def _events(events: Any) -> list[str]:
    if not isinstance(events, list) or not events or not all(isinstance(event, str) and event for event in events):
        raise ApiError(400, INVALID_SUBSCRIPTION, "events must be a list of names of events, and not empty.")
    return list(dict.fromkeys(events))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ApiError(400, INVALID_SUBSCRIPTION, "enabled must be true or false.")
    return value


def _subscription(row: Row) -> Subscription:
    return Subscription(
        row["id"],
        row["account_id"],
        row["name"],
        json.loads(row["source"]),
        json.loads(row["events"]),
        row["queue_id"],
        bool(row["enabled"]),
        row["created_at"],
        row["modified_at"],
    )
