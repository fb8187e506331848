"""``/event_notifications/r2/{bucket}/configuration``: which changes are told to which queues."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import envelope, object_body
from clodo.emulator.queues.store import Queue, Queues
from clodo.emulator.r2.errors import INVALID_ARGUMENT, NO_NOTIFICATIONS, NO_SUCH_NOTIFICATION, R2Refused
from clodo.emulator.r2.notifications import rules_in, with_rules, without_rules
from clodo.emulator.r2.records import Bucket
from clodo.emulator.r2.routes import bucket_of, route
from clodo.emulator.r2.store import Storage


def routes(storage: Storage, queues: Queues) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    def queue_of(request: Request) -> Queue:
        return queues.find(request.path_params["account_id"], request.path_params["queue_id"].replace("-", ""))

    async def get_all(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        if not rules_in(bucket.settings):
            raise R2Refused(NO_NOTIFICATIONS)
        shown = [_shown(bucket, queue) for queue in queues.with_ids(rules_in(bucket.settings))]
        return envelope({"bucketName": bucket.name, "queues": shown})

    async def get_one(request: Request) -> Response:
        bucket, queue = bucket_of(storage, request), queue_of(request)
        _raise_if_none(bucket, queue)
        return envelope(_shown(bucket, queue))

    async def add(request: Request) -> Response:
        bucket, queue = bucket_of(storage, request), queue_of(request)
        given = (await object_body(request)).get("rules")
        await storage.buckets.change_settings(
            bucket, lambda known: {"notifications": with_rules(rules_in(known), queue.id, given)}
        )
        return envelope({})

    async def remove(request: Request) -> Response:
        bucket, queue = bucket_of(storage, request), queue_of(request)
        _raise_if_none(bucket, queue)
        rule_ids = (await object_body(request)).get("ruleIds") if await request.body() else None
        if rule_ids is not None and not isinstance(rule_ids, list):
            raise R2Refused(INVALID_ARGUMENT.saying("ruleIds must be an array of ids."))
        await storage.buckets.change_settings(
            bucket, lambda known: {"notifications": without_rules(rules_in(known), queue.id, rule_ids or ()) or None}
        )
        return envelope({})

    configuration = "/event_notifications/r2/{bucket}/configuration"
    one = configuration + "/queues/{queue_id}"
    return [
        route(configuration, get_all, "GET"),
        route(one, get_one, "GET"),
        route(one, add, "PUT"),
        route(one, remove, "DELETE"),
    ]


def _raise_if_none(bucket: Bucket, queue: Queue) -> None:
    if queue.id not in rules_in(bucket.settings):
        raise R2Refused(NO_SUCH_NOTIFICATION if rules_in(bucket.settings) else NO_NOTIFICATIONS)


def _shown(bucket: Bucket, queue: Queue) -> dict[str, Any]:
    # Here, and only here, the real one writes the ids of queues with hyphens.
    return {"queueId": str(UUID(queue.id)), "queueName": queue.name, "rules": rules_in(bucket.settings)[queue.id]}
