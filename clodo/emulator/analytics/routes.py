"""``POST /client/v4/graphql``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.accounts.authentication import caller
from clodo.emulator.analytics.questions import QuestionRefused
from clodo.emulator.analytics.recorder import Recorder
from clodo.emulator.analytics.store import Facts
from clodo.emulator.envelope import ApiError, read_body

#: More than any dashboard asks.
MAX_QUESTION_BYTES = 1024 * 1024


class Analytics:
    """
    The endpoint, and how late it is.

    Attributes:
        delay_seconds: How long facts take to be seen; minutes on Cloudflare, none here unless asked for.
    """

    def __init__(self, facts: Facts, recorder: Recorder) -> None:
        self._facts = facts
        self._recorder = recorder
        self.delay_seconds = 0.0

    def routes(self) -> list[Route]:
        """Return the routes, relative to ``/client/v4``."""
        return [Route("/graphql", self._ask, methods=["POST"])]

    async def _ask(self, request: HttpRequest) -> Response:
        # graphql-core takes a tenth of a second to import, and the cloud is to start quickly.
        from clodo.emulator.analytics.answers import Request, answer

        try:
            body = json.loads(await read_body(request, MAX_QUESTION_BYTES))
        except ApiError as refusal:
            return _errors(QuestionRefused(refusal.message), status=refusal.status)
        except (ValueError, RecursionError):
            return _errors(QuestionRefused("error parsing request: it is no JSON"), status=400)
        query = body.get("query") if isinstance(body, dict) else None
        variables = (body.get("variables") or {}) if isinstance(body, dict) else {}
        name = body.get("operationName") if isinstance(body, dict) else None
        if not isinstance(query, str) or not isinstance(variables, dict) or not isinstance(name, str | None):
            return _errors(QuestionRefused("error parsing request: query, variables, operationName"), status=400)
        if "StorageAdaptive" in query:
            await self._recorder.note_sizes()
        try:
            data = answer(
                Request(
                    query,
                    variables,
                    name,
                    caller(request).account_ids,
                    self._recorder.now_ms(),
                    round(self.delay_seconds * 1000),
                ),
                self._facts,
            )
        except QuestionRefused as refusal:
            return _errors(refusal)
        return _json({"data": data, "errors": None})


def _errors(refusal: QuestionRefused, *, status: int = 200) -> Response:
    """Return a refusal; like any GraphQL server's it has status 200 when the request itself was understood."""
    error: dict[str, Any] = {
        "message": refusal.message,
        "path": refusal.path or None,
        "extensions": {"timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")},
    }
    return _json({"data": None, "errors": [error]}, status=status)


def _json(body: object, *, status: int = 200) -> Response:
    return Response(json.dumps(body, separators=(",", ":")), status_code=status, media_type="application/json")
