"""What an answer says, or its absence: read, and named as one of our errors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

import httpx

from clodo.cloudflare.calls import Call, T
from clodo.cloudflare.refusals import Refusal
from clodo.cloudflare.wire import LOOPBACK
from clodo.errors import ApiRefused, ClodoError, CloudflareUnavailable, OutcomeUnknown
from clodo.logs import PROCESS_SECRETS

# The request never left: repeating it repeats nothing. Every other failure of the connection leaves a write in doubt.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


def open_envelope(response: httpx.Response) -> dict[str, Any] | None:
    """Return the JSON object of an answer, None when it is none."""
    if response.status_code in (204, 205) and not response.content:
        return {"success": True, "result": None}
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def refusal_in(response: httpx.Response, envelope: dict[str, Any] | None) -> Refusal | None:
    """Return what was refused, None for a good answer; Cloudflare's word in the body goes before the status."""
    status = response.status_code
    errors = (envelope or {}).get("errors") or []
    if status < 400 and (envelope is None or (envelope.get("success", True) is True)):
        return None
    first = errors[0] if isinstance(errors, list) and errors else {}
    if not isinstance(first, dict):
        return Refusal(status, 0, PROCESS_SECRETS.text(str(first)))
    code = first.get("code")
    chain = [each.get("message") for each in first.get("error_chain") or () if isinstance(each, dict)]
    message = ": ".join(str(part) for part in (first.get("message"), *chain) if part)
    # Cloudflare may quote what it was sent, and what it says ends up in errors, journals and reports.
    return Refusal(status, code if isinstance(code, int) else 0, PROCESS_SECRETS.text(message))


def connection_error(base_url: str, call: Call[T], error: httpx.RequestError) -> ClodoError:
    """Name what became of a request that got no answer."""
    what = f"{type(error).__name__}"
    if isinstance(error, UNSENT):
        url = httpx.URL(base_url)
        here = f"{url.host}:{url.port or url.scheme}"
        return CloudflareUnavailable(
            f"{here} can't be reached for {call.method} {call.path}: {what}",
            hint=(
                "Start the embedded cloud: `clodo up`."
                if url.host in LOOPBACK
                else "Look at this machine's network, and at https://www.cloudflarestatus.com."
            ),
        )
    return passing(call, f"The connection broke: {what}", None)


def malformed(call: Call[T], response: httpx.Response, why: str) -> ClodoError:
    """Name an answer that nobody can read."""
    return passing(call, f"The answer (HTTP {response.status_code}) can't be understood: {why}", None)


def passing(call: Call[T], what: str, wait: timedelta | None) -> ClodoError:
    """Name trouble that passes; after a write nobody knows whether it was carried out."""
    where = f"{call.method} {call.path}"
    if not call.writes:
        return CloudflareUnavailable(f"{what}, at {where}", retry_after=wait)
    return OutcomeUnknown(
        f"{what}, at {where}; whether it was carried out is unknown",
        hint="Look at what is live before repeating it; `clodo release resume` does.",
    )


def refuse_file(response: httpx.Response) -> NoReturn:
    """Raise what the host of a signed URL said no with."""
    where = f"{response.request.method} {str(response.request.url).split('?', 1)[0]}"
    if response.status_code >= 500 or response.status_code == 429:
        raise CloudflareUnavailable(f"{where} answered HTTP {response.status_code}")
    raise ApiRefused(f"{where} answered HTTP {response.status_code}", status=response.status_code)
