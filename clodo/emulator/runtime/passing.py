"""One request to one version: disturbed if asked for, counted, and answered by a page if the Worker isn't able."""

from __future__ import annotations

import asyncio
import json
import time
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from clodo.emulator.runtime import pages
from clodo.emulator.runtime.configuration import (
    CALLER_HEADER,
    CF_HEADER,
    PROTOCOL_HEADER,
    SECRET_HEADER,
    exported_name,
)
from clodo.emulator.runtime.forwarding import HOP_BY_HOP, Ending, Headers, Outcome, cut, refuse_websocket
from clodo.emulator.runtime.instances import EntrypointMissing, Lease
from clodo.emulator.runtime.ports import Disturbance, ScriptInvalid, WorkerdUnavailable
from clodo.emulator.runtime.tails import killed_event

if TYPE_CHECKING:
    from clodo.emulator.runtime.runtime import Runtime

#: What a Worker's own requests come from, on Cloudflare.
WORKER_ADDRESS = b"2a06:98c0:3600::103"
COLO = "LOC"

#: Ids that only have to differ; the system's randomness would cost a system call for each request.
_rays = Random()

_CF_HEADER = CF_HEADER.encode()
_PROTOCOL_HEADER = PROTOCOL_HEADER.encode()
_INTERNAL = frozenset((SECRET_HEADER.encode(), CALLER_HEADER.encode(), _CF_HEADER, _PROTOCOL_HEADER))
#: What a binding's request brings along for workerd, on the other side.
_CARRIED = frozenset((_CF_HEADER, _PROTOCOL_HEADER))
_FORWARDED_PROTOCOL = b"x-forwarded-proto"
#: How often a request may still go from Worker to Worker.
HOPS_HEADER = b"cf-ew-via"
MAXIMUM_HOPS = 16
#: Set by the edge; what a client says about them is not believed.
_EDGE_HEADERS = frozenset(
    (
        b"cf-connecting-ip",
        b"cf-ipcountry",
        b"cf-ray",
        b"cf-visitor",
        b"cf-worker",
        b"x-real-ip",
        HOPS_HEADER,
        _FORWARDED_PROTOCOL,
    )
)
_CF_OBJECT = {
    "colo": COLO,
    "country": "XX",
    "continent": "EU",
    "timezone": "Etc/UTC",
    "asn": 64512,
    "asOrganization": "Embedded cloud",
    "clientAcceptEncoding": "",
    "edgeRequestKeepAliveStatus": 1,
    "requestPriority": "",
    "tlsCipher": "AEAD-AES128-GCM-SHA256",
    # What Cloudflare documents for a visitor without a client certificate.
    "tlsClientAuth": {
        "certPresented": "0",
        "certRevoked": "0",
        "certVerified": "NONE",
        **dict.fromkeys(
            (
                "certFingerprintSHA1",
                "certFingerprintSHA256",
                "certIssuerDN",
                "certIssuerDNLegacy",
                "certIssuerDNRFC2253",
                "certIssuerSerial",
                "certIssuerSKI",
                "certNotAfter",
                "certNotBefore",
                "certSerial",
                "certSKI",
                "certSubjectDN",
                "certSubjectDNLegacy",
                "certSubjectDNRFC2253",
            ),
            "",
        ),
    },
    "tlsVersion": "TLSv1.3",
}


def new_ray() -> str:
    """Return the id of a request, as ``CF-Ray`` shows it."""
    return f"{_rays.getrandbits(64):016x}-{COLO}"


def public_headers(scope: Scope, ray: str) -> Headers:
    """Return the headers with which a request from outside reaches a Worker."""
    client = scope.get("client")
    address = client[0].encode() if client else WORKER_ADDRESS
    sent = dict(scope["headers"])
    protocol = sent.get(_PROTOCOL_HEADER) or sent.get(_FORWARDED_PROTOCOL, b"https")
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if name not in HOP_BY_HOP and name not in _INTERNAL and name not in _EDGE_HEADERS
    ]
    cookies = [value for name, value in kept if name == b"cookie"]
    if len(cookies) > 1:
        # They are the one field that isn't joined by commas (RFC 9113, 8.2.3).
        kept = [*((name, value) for name, value in kept if name != b"cookie"), (b"cookie", b"; ".join(cookies))]
    return [
        *kept,
        (b"cf-connecting-ip", address),
        (b"cf-ipcountry", b"XX"),
        (b"cf-ray", ray.removesuffix(f"-{COLO}").encode()),
        (b"cf-visitor", b'{"scheme":"%s"}' % protocol),
        (b"x-real-ip", address),
        (_FORWARDED_PROTOCOL, protocol),
        (_PROTOCOL_HEADER, protocol),
        (_CF_HEADER, _cf_object(scope.get("http_version", "1.1"), sent.get(b"accept-encoding", b""))),
    ]


@lru_cache(maxsize=256)
def _cf_object(http_version: str, encoding: bytes) -> bytes:
    """Return ``request.cf``, which is the same for most visitors."""
    told = {"httpProtocol": f"HTTP/{http_version}", "clientAcceptEncoding": encoding.decode("latin-1")}
    return json.dumps({**_CF_OBJECT, **told}).encode()


def binding_headers(scope: Scope) -> Headers:
    """Return the headers with which a request through a service binding reaches a Worker: the caller's own."""
    hidden = _INTERNAL - _CARRIED
    return [(name, value) for name, value in scope["headers"] if name not in HOP_BY_HOP and name not in hidden]


def outside_headers(scope: Scope) -> Headers:
    """Return the headers with which a Worker's request reaches a server that is none of ours."""
    return [(name, value) for name, value in scope["headers"] if name not in HOP_BY_HOP and name not in _INTERNAL]


def hops_left(scope: Scope) -> int:
    """Return how many more Workers may pass on a request that comes from a Worker."""
    shown = next((value for name, value in scope["headers"] if name == HOPS_HEADER), b"")
    return min(int(shown), MAXIMUM_HOPS) if shown.isdigit() else MAXIMUM_HOPS


async def pass_to_version(
    runtime: Runtime,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    account_id: str,
    script: str,
    version_id: str,
    entrypoint: str = "",
    headers: Headers,
    extra: Headers,
    host: str,
    ray: str,
) -> None:
    """
    Let a version answer the request of *scope*.

    Args:
        headers: To send to the Worker.

        extra: To add to the response.
    """
    is_websocket = scope["type"] == "websocket"
    if is_websocket:
        await receive()  # websocket.connect
    disturbance = runtime.disturbances.of(account_id, script, version_id)
    if disturbance is not None:
        if disturbance.latency_ms:
            await asyncio.sleep(disturbance.latency_ms / 1000)
        injected = await _disturb(runtime, disturbance, scope, receive, send, extra)
        if injected is not None:
            runtime.count_injected(account_id, script, version_id, injected)
            if runtime.recorder is not None:
                runtime.recorder.injected(account_id, script, version_id)
            return
    began = time.monotonic()
    for is_last_try in (False, False, True):
        try:
            lease = await runtime.lease(account_id, script, version_id, entrypoint, is_long=is_websocket)
        except (ScriptInvalid, WorkerdUnavailable) as error:
            await send_page(scope, send, pages.worker_unavailable(host, ray, error.message), extra)
            return
        except EntrypointMissing:
            why = f"{script} has no entrypoint named {exported_name(entrypoint)}"
            await send_page(scope, send, pages.worker_unavailable(host, ray, why), extra)
            return
        try:
            if runtime.recorder is not None:
                runtime.recorder.began(lease)
            serve = lease.upstream.websocket if is_websocket else lease.upstream.http
            outcome = await serve(scope, receive, send, headers, extra)
            if outcome.ending is Ending.NEVER_SENT and not is_last_try:
                # The process was killed and we have yet to hear of it; another one can still have the request.
                lease.instance.forget(lease.workerd)
                continue
            lease.version.requests += 1
            seconds = time.monotonic() - began
            runtime.wall_times.note(ray.removesuffix(f"-{COLO}"), seconds * 1000)
            if runtime.recorder is not None:
                status = _status_of(outcome, lease)
                runtime.recorder.ended(lease, event="fetch", status=status, seconds=seconds, size=outcome.size)
            await _conclude(lease, outcome, scope, send, extra, host, ray)
            if outcome.ending is Ending.BROKE_OFF and lease.workerd.is_over_limit:
                # The process that would have told of it is gone.
                url = f"https://{host}{scope['path']}"
                event = killed_event(url, scope.get("method", "GET"), headers, seconds)
                runtime.deliver_tail(account_id, script, version_id, [event])
            return
        finally:
            lease.release()


def _status_of(outcome: Outcome, lease: Lease) -> str:
    """Name the end of a request as the analytics do; a Worker's own 500 is a success there."""
    match outcome.ending:
        case Ending.ANSWERED:
            return "success"
        case Ending.CLIENT_LEFT:
            return "clientDisconnected"
        case Ending.THREW:
            return "scriptThrewException"
        case _:
            return "exceededResources" if lease.workerd.is_over_limit else "internalError"


async def _conclude(
    lease: Lease, outcome: Outcome, scope: Scope, send: Send, extra: Headers, host: str, ray: str
) -> None:
    """Count what became of a request, and answer it if the Worker has not."""
    version = lease.version
    if outcome.ending is Ending.CLIENT_LEFT:
        return
    if outcome.ending is Ending.ANSWERED:
        version.responses[f"{outcome.status // 100}xx"] += 1
        return
    version.errors += 1
    version.responses["5xx"] += 1
    if outcome.started:
        cut(scope)
    elif lease.workerd.is_over_limit:
        await send_page(scope, send, pages.worker_exceeded_limits(host, ray), extra)
    else:
        await send_page(scope, send, pages.worker_threw(host, ray), extra)


async def _disturb(
    runtime: Runtime, disturbance: Disturbance, scope: Scope, receive: Receive, send: Send, extra: Headers
) -> int | None:
    """Answer, or not, as *disturbance* says; return the status (0 for none), None to go on as usual."""
    if disturbance.hang:
        while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            continue
        return 0
    if disturbance.drop:
        cut(scope)
        return 0
    if disturbance.error_rate and runtime.random() < disturbance.error_rate:
        body = f"error {disturbance.error_status} injected by the embedded cloud\n".encode()
        page = pages.Page(disturbance.error_status, body, b"text/plain; charset=UTF-8")
        await send_page(scope, send, page, extra)
        return disturbance.error_status
    return None


async def send_page(scope: Scope, send: Send, page: pages.Page, extra: Headers) -> None:
    """Answer with one of the edge's own pages."""
    headers = [
        (b"content-type", page.content_type),
        (b"content-length", str(len(page.body)).encode()),
        (b"cache-control", b"private, max-age=0, no-store, no-cache, must-revalidate"),
        *extra,
    ]
    if scope["type"] == "websocket":
        await refuse_websocket(scope, send, page.status, page.body, headers)
        return
    await send({"type": "http.response.start", "status": page.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else page.body})
