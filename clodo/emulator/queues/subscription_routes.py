"""``/event_subscriptions/subscriptions``: event subscriptions over the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import ApiError, envelope, object_body, page_of
from clodo.emulator.queues.subscriptions import INVALID_SUBSCRIPTION, Subscription, Subscriptions

#: What lists may be ordered by.
_ORDERS: Mapping[str, Callable[[Subscription], str | bool]] = {
    "created_at": lambda found: found.created_at,
    "name": lambda found: found.name,
    "enabled": lambda found: found.enabled,
    "source": lambda found: found.source["type"],
}


def routes(subscriptions: Subscriptions) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_subscriptions(request: Request) -> Response:
        query = request.query_params
        order, direction = query.get("order", "created_at"), query.get("direction", "asc")
        if order not in _ORDERS or direction not in ("asc", "desc"):
            raise ApiError(400, INVALID_SUBSCRIPTION, f"order must be one of {', '.join(_ORDERS)}; asc or desc.")
        queue_id = query.get("queue_id")
        found = [
            subscription
            for subscription in subscriptions.of_account(_account(request))
            if queue_id in (None, "", subscription.queue_id)
        ]
        found.sort(key=_ORDERS[order], reverse=direction == "desc")
        page, info = page_of(found, query, default_per_page=20, max_per_page=100)
        return envelope([_shown(subscription) for subscription in page], result_info=info)

    async def create_subscription(request: Request) -> Response:
        return envelope(_shown(subscriptions.create(_account(request), await object_body(request))))

    async def get_subscription(request: Request) -> Response:
        return envelope(_shown(_existing(request)))

    async def change_subscription(request: Request) -> Response:
        changes = await object_body(request)
        # Looked up after the body has come: meanwhile somebody else may have changed it.
        return envelope(_shown(subscriptions.change(_existing(request), changes)))

    async def delete_subscription(request: Request) -> Response:
        subscription = _existing(request)
        subscriptions.delete(subscription)
        return envelope(_shown(subscription))

    def _existing(request: Request) -> Subscription:
        return subscriptions.find(_account(request), request.path_params["subscription_id"])

    every, one = "/event_subscriptions/subscriptions", "/event_subscriptions/subscriptions/{subscription_id}"
    return [
        Route(every, list_subscriptions, methods=["GET"]),
        Route(every, create_subscription, methods=["POST"]),
        Route(one, get_subscription, methods=["GET"]),
        Route(one, change_subscription, methods=["PATCH"]),
        Route(one, delete_subscription, methods=["DELETE"]),
    ]


def _account(request: Request) -> str:
    account_id: str = request.path_params["account_id"]
    return account_id


def _shown(subscription: Subscription) -> dict[str, Any]:
    return {
        "id": subscription.id,
        "created_at": subscription.created_at,
        "modified_at": subscription.modified_at,
        "name": subscription.name,
        "enabled": subscription.enabled,
        "source": subscription.source,
        "destination": {"type": "queues.queue", "queue_id": subscription.queue_id},
        "events": subscription.events,
    }
