"""``/queues``: creating, listing and deleting queues, and saying which Worker consumes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.clock import new_id, now
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError, envelope, object_body, page_of
from clodo.emulator.workers.store import Scripts

QUEUE_NOT_FOUND = 11000
INVALID_QUEUE = 11001
CONSUMER_EXISTS = 11004
CONSUMER_NOT_FOUND = 11005
QUEUE_EXISTS = 11009

#: https://developers.cloudflare.com/queues/platform/limits/
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")

_SETTINGS = {"delivery_delay": 0, "message_retention_period": 345600}


class Queues:
    """The queues of every account."""

    def __init__(self, database: Database, scripts: Scripts) -> None:
        self._database = database
        self._scripts = scripts

    def exists(self, account_id: str, name: str) -> bool:
        """Say whether the account has a queue of this name."""
        return self.named(account_id, name) is not None

    def named(self, account_id: str, name: str) -> Row | None:
        """Return a queue by name."""
        return self._database.row("SELECT * FROM queues WHERE account_id = ? AND name = ?", (account_id, name))

    def find(self, account_id: str, queue_id: str) -> Row:
        """
        Return a queue by id.

        Raises:
            ApiError: There is none.
        """
        row = self._database.row("SELECT * FROM queues WHERE account_id = ? AND id = ?", (account_id, queue_id))
        if row is None:
            raise ApiError(404, QUEUE_NOT_FOUND, "Queue not found.")
        return row

    def of_account(self, account_id: str) -> list[Row]:
        """Return the account's queues by name."""
        return self._database.rows("SELECT * FROM queues WHERE account_id = ? ORDER BY name", (account_id,))

    def create(self, account_id: str, name: str, settings: Mapping[str, Any]) -> Row:
        """
        Make a queue.

        Raises:
            ApiError: The name can't be one, or is taken.
        """
        if not _NAME.match(name):
            raise ApiError(400, INVALID_QUEUE, f"Invalid queue name: {name[:100]!r}.")
        if self.exists(account_id, name):
            raise ApiError(409, QUEUE_EXISTS, f"Queue name '{name}' is already taken. Please use a different name.")
        moment = now()
        row = {
            "id": new_id(),
            "account_id": account_id,
            "name": name,
            "created_on": moment,
            "modified_on": moment,
            "settings": json.dumps({**_SETTINGS, **settings}),
        }
        self._database.insert("queues", row)
        return row

    def delete(self, queue_id: str) -> None:
        """Remove a queue and its consumers."""
        self._database.run("DELETE FROM queues WHERE id = ?", (queue_id,))

    def consumers(self, queue_id: str) -> list[Row]:
        """Return a queue's consumers."""
        return self._database.rows("SELECT * FROM queue_consumers WHERE queue_id = ?", (queue_id,))

    def put_consumer(self, queue: Row, consumer_id: str | None, body: Mapping[str, Any]) -> Row:
        """
        Add a consumer, or change the one with this id.

        Raises:
            ApiError: The Worker isn't there, or the queue has a consumer already.
        """
        kind, name = body.get("type") or "worker", body.get("script_name") or body.get("service")
        script = self._scripts.get(queue["account_id"], name) if isinstance(name, str) else None
        if kind == "worker" and script is None:
            raise ApiError(400, INVALID_QUEUE, f"Worker {name!r} not found.")
        known = {row["id"]: row for row in self.consumers(queue["id"])}
        if consumer_id is None and known:
            raise ApiError(400, CONSUMER_EXISTS, "Queue already has a consumer.")
        if consumer_id is not None and consumer_id not in known:
            raise ApiError(404, CONSUMER_NOT_FOUND, "Consumer not found.")
        row = {
            "id": consumer_id or new_id(),
            "queue_id": queue["id"],
            "script": script.id if script else None,
            "type": kind,
            "settings": json.dumps(body.get("settings") or {}),
            "dead_letter_queue": body.get("dead_letter_queue"),
            "created_on": known[consumer_id]["created_on"] if consumer_id else now(),
        }
        self._database.insert("queue_consumers", row, replace=True)
        return row

    def delete_consumer(self, queue_id: str, consumer_id: str) -> bool:
        """Remove a consumer; False if there was none."""
        return (
            self._database.run("DELETE FROM queue_consumers WHERE queue_id = ? AND id = ?", (queue_id, consumer_id)) > 0
        )

    def answer(self, row: Row) -> dict[str, Any]:
        """Return a queue as the API shows it."""
        consumers = [self.consumer_answer(row, consumer) for consumer in self.consumers(row["id"])]
        producers = self._producers(row)
        return {
            "queue_id": row["id"],
            "queue_name": row["name"],
            "created_on": row["created_on"],
            "modified_on": row["modified_on"],
            "settings": json.loads(row["settings"]),
            "producers": producers,
            "producers_total_count": len(producers),
            "consumers": consumers,
            "consumers_total_count": len(consumers),
        }

    def consumer_answer(self, queue: Row, row: Row) -> dict[str, Any]:
        """Return a consumer as the API shows it."""
        script = self._scripts.by_id(queue["account_id"], row["script"]) if row["script"] else None
        answer = {
            "consumer_id": row["id"],
            "queue_name": queue["name"],
            "type": row["type"],
            "settings": json.loads(row["settings"]),
            "created_on": row["created_on"],
        }
        if script is not None:
            answer |= {"script": script.name, "script_name": script.name, "service": script.name}
            answer["environment"] = "production"
        if row["dead_letter_queue"]:
            answer["dead_letter_queue"] = row["dead_letter_queue"]
        return answer

    def _producers(self, row: Row) -> list[dict[str, Any]]:
        producers = []
        for script in self._scripts.of_account(row["account_id"]):
            version = self._scripts.newest_version(script)
            names = {
                binding.get("queue_name")
                for binding in (version.content.bindings if version else ())
                if binding["type"] == "queue"
            }
            if row["name"] in names:
                producers.append({"type": "worker", "script": script.name, "service": script.name})
        return producers


def routes(queues: Queues) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_queues(request: Request) -> Response:
        names = set(request.query_params.getlist("name"))
        rows = queues.of_account(request.path_params["account_id"])
        found = [queues.answer(row) for row in rows if not names or row["name"] in names]
        page, info = page_of(found, request.query_params, default_per_page=100, max_per_page=100)
        # Recorded: errors and messages are null here.
        return envelope(page, result_info=info, errors=None, messages=None)

    async def create_queue(request: Request) -> Response:
        body = await object_body(request)
        settings = body.get("settings") or {}
        if not isinstance(settings, dict):
            raise ApiError(400, INVALID_QUEUE, "settings must be an object")
        row = queues.create(request.path_params["account_id"], str(body.get("queue_name") or ""), settings)
        return envelope(queues.answer(row))

    async def get_queue(request: Request) -> Response:
        return envelope(queues.answer(_queue(request)))

    async def delete_queue(request: Request) -> Response:
        queues.delete(_queue(request)["id"])
        return envelope(None)

    async def list_consumers(request: Request) -> Response:
        queue = _queue(request)
        found = [queues.consumer_answer(queue, row) for row in queues.consumers(queue["id"])]
        page, info = page_of(found, request.query_params, default_per_page=100, max_per_page=100)
        return envelope(page, result_info=info, errors=None, messages=None)

    async def create_consumer(request: Request) -> Response:
        queue = _queue(request)
        row = queues.put_consumer(queue, None, await object_body(request))
        return envelope(queues.consumer_answer(queue, row))

    async def put_consumer(request: Request) -> Response:
        queue = _queue(request)
        row = queues.put_consumer(queue, request.path_params["consumer_id"], await object_body(request))
        return envelope(queues.consumer_answer(queue, row))

    async def delete_consumer(request: Request) -> Response:
        if not queues.delete_consumer(_queue(request)["id"], request.path_params["consumer_id"]):
            raise ApiError(404, CONSUMER_NOT_FOUND, "Consumer not found.")
        return envelope(None)

    def _queue(request: Request) -> Row:
        return queues.find(request.path_params["account_id"], request.path_params["queue_id"])

    return [
        Route("/queues", list_queues, methods=["GET"]),
        Route("/queues", create_queue, methods=["POST"]),
        Route("/queues/{queue_id}", get_queue, methods=["GET"]),
        Route("/queues/{queue_id}", delete_queue, methods=["DELETE"]),
        Route("/queues/{queue_id}/consumers", list_consumers, methods=["GET"]),
        Route("/queues/{queue_id}/consumers", create_consumer, methods=["POST"]),
        Route("/queues/{queue_id}/consumers/{consumer_id}", put_consumer, methods=["PUT"]),
        Route("/queues/{queue_id}/consumers/{consumer_id}", delete_consumer, methods=["DELETE"]),
    ]
