"""A small fake Cloudflare on loopback: what one Worker's uploads need, with a script of failures."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "the-real-token-that-only-the-gateway-may-know"
WORKER = "shop"


@dataclass
class Fault:
    """
    What goes wrong with the next request that fits.

    *apply* stores first; *reset* cuts the connection, *hold* answers only when the event is set.
    """

    method: str
    ends_with: str
    status: int = 500
    apply: bool = False
    reset: bool = False
    hold: threading.Event | None = None
    retry_after: str | None = None
    body: bytes | None = None
    code: int = 0
    message: str = "injected"


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


class Cloud:
    """Answers what wrangler asks for one Worker, keeps the versions it gets, and misbehaves as told."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.faults: deque[Fault] = deque()
        self.versions: list[dict[str, Any]] = []
        self.exists = True
        self.asset_tokens: list[str] = []
        self.uploaded_assets = 0
        self.arrived = threading.Condition()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Cloud:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result() + "/client/v4"
        return self

    def __exit__(self, *_: object) -> None:
        for fault in self.faults:
            if fault.hold:
                fault.hold.set()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_for(self, method: str, ends_with: str, seconds: float = 30) -> None:
        """Return once such a request has arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.count(method, ends_with) > 0, seconds), f"no {method} {ends_with}"

    def count(self, method: str, ends_with: str) -> int:
        """Count such requests."""
        return sum(1 for one in self.received if one.method == method and one.path.endswith(ends_with))

    async def _listen(self) -> str:
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        path, _, query = request.raw_path.partition("?")
        path = path.removeprefix("/client/v4")
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.method, path, query, headers, body)
        with self.arrived:
            self.received.append(received)
            self.arrived.notify_all()
        fault = next(
            (one for one in self.faults if one.method == request.method and path.endswith(one.ends_with)), None
        )
        if fault is None:
            return _respond(*self._answer(received))
        self.faults.remove(fault)
        if fault.apply:
            self._answer(received)
        if fault.hold is not None:
            while not fault.hold.is_set():
                await asyncio.sleep(0.01)
        if fault.reset:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault.body is not None:
            return web.Response(status=fault.status, body=fault.body, content_type="application/json")
        answer = _respond(fault.status, None, code=fault.code, message=fault.message)
        if fault.retry_after is not None:
            answer.headers["Retry-After"] = fault.retry_after
        return answer

    def _answer(self, request: Received) -> tuple[int, Any]:
        scripts = f"/accounts/{ACCOUNT}/workers/scripts/{WORKER}"
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        uploads_asset = request.path == f"/accounts/{ACCOUNT}/workers/assets/upload"
        if bearer not in (self.asset_tokens if uploads_asset else [TOKEN]):
            return 401, (10000, "Authentication error")
        not_there = 404, (10007, "This Worker does not exist on your account.")
        match request.method, request.path.removeprefix(scripts):
            case "POST", "/versions":
                return (200, self._store(request)) if self.exists else not_there
            case "PUT", "":
                self.exists = True
                return 200, {"deployment_id": self._store(request)["id"].replace("-", "")}
            case "GET", "/versions":
                return (200, {"items": list(reversed(self.versions))}) if self.exists else not_there
            case "GET", rest if rest.startswith("/versions/"):
                return 200, next(one for one in self.versions if one["id"] == rest.removeprefix("/versions/"))
            case "POST", "/assets-upload-session":
                hashes = [file["hash"] for file in json.loads(request.body)["manifest"].values()]
                self.asset_tokens.append(f"asset-session-{uuid.uuid4()}")
                return 200, {"jwt": self.asset_tokens[-1], "buckets": [[one] for one in hashes]}
            case "POST", path if uploads_asset and path:
                self.uploaded_assets += 1
                self.asset_tokens.append(f"asset-completed-{uuid.uuid4()}")
                return 201, {"jwt": self.asset_tokens[-1]}
            case "GET", "/secrets":
                return (200, []) if self.exists else not_there
            case "GET", "/settings":
                return (200, {"bindings": []}) if self.exists else not_there
            case "GET", "/deployments":
                return (200, {"deployments": []}) if self.exists else not_there
            case "GET", path if path == f"/accounts/{ACCOUNT}/workers/services/{WORKER}":
                return (200, {"default_environment": {"script": {"tag": "t"}}}) if self.exists else not_there
            case "GET", path if path == f"/accounts/{ACCOUNT}/workers/workers/{WORKER}":
                return 200, {"subdomain": {"enabled": False, "previews_enabled": False}}
            case "GET", path if path == f"/accounts/{ACCOUNT}/workers/subdomain":
                return 200, {"subdomain": "sub"}
            case "PUT", "/secrets":
                return 200, {"name": json.loads(request.body)["name"], "type": "secret_text"}
            case ("POST", "/subdomain") | ("PATCH", "/script-settings"):
                return 200, {"enabled": False, "previews_enabled": False}
            case "GET", path if path == f"/accounts/{ACCOUNT}/d1/database":
                return 200, []
            case _:
                return 404, (7003, f"Could not route to {request.path}")

    def _store(self, request: Received) -> dict[str, Any]:
        rest = request.body.partition(b'name="metadata"')[2]
        metadata = json.loads(rest.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0])
        version = {
            "id": str(uuid.uuid4()),
            "number": len(self.versions) + 1,
            "annotations": metadata.get("annotations", {}),
            "metadata": {"has_preview": True},
            "resources": {"script": {}, "bindings": metadata["bindings"]},
            "startup_time_ms": 7,
        }
        self.versions.append({**version, "received": metadata})
        return version


def _respond(status: int, result: Any, *, code: int = 0, message: str = "") -> web.Response:
    if status < 400:
        return web.json_response({"success": True, "errors": [], "messages": [], "result": result}, status=status)
    code, message = result if isinstance(result, tuple) else (code, message)
    errors = [{"code": code, "message": message}]
    return web.json_response({"success": False, "errors": errors, "messages": [], "result": None}, status=status)
