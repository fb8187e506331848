"""The loopback server between wrangler and Cloudflare: it holds the real token, wrangler a one-time one."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from types import TracebackType

import httpx
from aiohttp import web

from clodo.cloudflare.budget import Budget, Lane
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.wrangler.forwarding import (
    DEFAULT_PATIENCE,
    Answer,
    Call,
    Forwarder,
    Guard,
    Request,
    Stored,
    is_same_token,
    refusal,
)
from clodo.wrangler.uploads import Stamp, Upload

LOOPBACK = "127.0.0.1"
DEFAULT_UPSTREAM_TIMEOUT = timedelta(seconds=120)
# An asset may have 25 MiB, a third more as base64, and wrangler sends several at once.
_MAX_BODY_BYTES = 512 * 1024 * 1024


class GatewaySession:
    """
    The gateway as one wrangler call sees it; a context manager, and dead once its block is left.

    Attributes:
        base_url: For ``CLOUDFLARE_API_BASE_URL``; unguessable.

        token: For ``CLOUDFLARE_API_TOKEN``; good for this call only.
    """

    def __init__(self, gateway: Gateway, forwarder: Forwarder) -> None:
        self.id = secrets.token_hex(8)
        self.token = f"clodo-{secrets.token_urlsafe(32)}"
        self.base_url = f"{gateway.url}/{self.id}/client/v4"
        self._gateway = gateway
        self._forwarder = forwarder

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every request that was sent to Cloudflare, in the order of the answers."""
        return tuple(self._forwarder.calls)

    @property
    def stored(self) -> Stored | None:
        """The version that was uploaded, None so far."""
        return self._forwarder.stored

    @property
    def compared(self) -> Upload | None:
        """What would have been uploaded, in compare mode."""
        return self._forwarder.compared

    @property
    def failure(self) -> BaseException | None:
        """Why the gateway stopped forwarding; what the command must raise."""
        return self._forwarder.failure

    @property
    def has_sent_write(self) -> bool:
        """True once a write was sent to Cloudflare, answered or not."""
        return self._forwarder.has_sent_write

    def __enter__(self) -> GatewaySession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forward nothing more; a wrangler that is still there gets 404."""
        self._forwarder.close()
        self._gateway.forget(self)

    def answer(self, request: Request, authorization: str) -> Answer:
        """Answer one request of wrangler's, if it may make it."""
        bearer = authorization.removeprefix("Bearer ")
        if is_same_token(bearer, self.token):
            return self._forwarder.handle(request)
        if self._forwarder.knows_token(bearer, request.path):
            return self._forwarder.handle(request, bearer=bearer)
        return refusal("not a token of this call", status=403)

    def fail(self, error: BaseException) -> Answer:
        """Note why this call has failed; return what wrangler is told."""
        return self._forwarder.fail(error)


class Gateway:
    """
    A server on a loopback port of its own, in a thread of this process; a context manager.

    It dies with the process: a wrangler that survives reaches nothing.

    Args:
        upstream: The API's root, ``https://api.cloudflare.com/client/v4`` or the embedded cloud's.

        token: The real API token. It is sent to *upstream* only.

        budget: Where each request is taken from before it is sent.

        patience: How long one request may wait for the budget and for 429s to be over.

        upstream_timeout: How long an answer may take.

        transport: The wire, for tests; None for the network.
    """

    def __init__(
        self,
        upstream: str,
        token: str,
        *,
        budget: Budget,
        patience: timedelta = DEFAULT_PATIENCE,
        upstream_timeout: timedelta = DEFAULT_UPSTREAM_TIMEOUT,
        clock: Clock = SYSTEM_CLOCK,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.token = token
        self.url = ""
        self._budget = budget
        self._patience = patience
        self._clock = clock
        self._client = httpx.Client(
            base_url=upstream.rstrip("/"),
            headers={"authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(upstream_timeout.total_seconds(), connect=10.0, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            # A proxy of the user's is for the way out, not for an embedded cloud on this machine.
            trust_env=not _is_loopback(upstream),
            transport=transport,
        )
        self._sessions: dict[str, GatewaySession] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="clodo-gateway", daemon=True)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Gateway:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in list(self._sessions.values()):
            session.close()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._client.close()

    def session(
        self,
        *,
        stamp: Stamp | None = None,
        worker: str | None = None,
        guard: Guard | None = None,
        lane: Lane = Lane.RELEASE,
        compare: bool = False,
        must_be_first: bool = False,
        mask: Callable[[str], str] = str,
    ) -> GatewaySession:
        """
        Open the gateway for one wrangler call.

        Args:
            stamp: Written into the version that is uploaded; None leaves uploads as they are.

            worker: The only Worker that may be uploaded; None for any.

            guard: Called before each write is forwarded, in a thread of the gateway; what it raises is raised by the
                command, and the write is not forwarded.

            lane: Whose share of the budget is used.

            compare: Let reads pass, and keep every write from Cloudflare.

            must_be_first: Refuse to upload a version of a Worker that exists by now.

            mask: Takes secrets out of what is recorded of Cloudflare's messages.
        """
        forwarder = Forwarder(
            self._client,
            budget=self._budget,
            lane=lane,
            stamp=stamp,
            worker=worker,
            guard=guard,
            compare=compare,
            must_be_first=must_be_first,
            patience=self._patience,
            clock=self._clock,
            mask=mask,
        )
        session = GatewaySession(self, forwarder)
        self._sessions[session.id] = session
        return session

    def forget(self, session: GatewaySession) -> None:
        """Answer nothing more for *session*."""
        self._sessions.pop(session.id, None)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> str:
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, 0)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"http://{LOOPBACK}:{port}"

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        # Calls that Cloudflare never answered; a loop that is closed over them complains into the log.
        unanswered = asyncio.all_tasks() - {asyncio.current_task()}
        for task in unanswered:
            task.cancel()
        await asyncio.gather(*unanswered, return_exceptions=True)

    async def _serve(self, incoming: web.Request) -> web.Response:
        path, _, query = incoming.raw_path.partition("?")
        session_id, _, rest = path.removeprefix("/").partition("/")
        session = self._sessions.get(session_id)
        if session is None or not rest.startswith("client/v4/"):
            return _respond(refusal("no such call", status=404))
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        request = Request(incoming.method, rest.removeprefix("client/v4"), query, headers, await incoming.read())
        answer: Future[Answer] = Future()
        # Under way, it can't be cancelled: whoever answers late may still do so, and nobody listens.
        answer.set_running_or_notify_cancel()
        # A thread of its own, and a daemon: it may wait minutes for a 429, and must not hold up our end.
        threading.Thread(target=_answer_into, args=(answer, session, request), daemon=True).start()
        return _respond(await asyncio.wrap_future(answer))


def _answer_into(answer: Future[Answer], session: GatewaySession, request: Request) -> None:
    try:
        reply = session.answer(request, request.headers.get("authorization", ""))
    except BaseException as error:  # noqa: BLE001 - carried over to the thread that called wrangler, and raised there
        reply = session.fail(error)
    with suppress(RuntimeError):
        # The gateway may have been stopped while we waited for Cloudflare.
        answer.set_result(reply)


def _respond(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)


def _is_loopback(url: str) -> bool:
    return httpx.URL(url).host in (LOOPBACK, "localhost", "::1")
