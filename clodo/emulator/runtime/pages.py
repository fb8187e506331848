"""What a visitor sees when no Worker answers, in Cloudflare's words and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

_PAGE = """<!DOCTYPE html>
<html lang="en-US"><head><title>{title}</title><meta charset="UTF-8"><meta name="robots" content="noindex, nofollow">
</head><body><div id="cf-wrapper"><div id="cf-error-details">
<h1><span class="cf-error-type">Error</span> <span class="cf-error-code">{code}</span></h1>
<h2 class="cf-subheadline">{what}</h2><p>{explanation}</p>
<p><span>Ray ID: <strong>{ray}</strong></span> &bull; <span>Embedded cloud</span></p>
</div></div></body></html>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of the edge itself."""

    status: int
    body: bytes
    content_type: bytes = b"text/html; charset=UTF-8"


def error_page(status: int, code: int, what: str, explanation: str, *, host: str, ray: str) -> Page:
    """Return Cloudflare's error page number *code*."""
    page = _PAGE.format(
        title=escape(f"{what} | {host} | Cloudflare"),
        code=code,
        what=escape(what),
        explanation=escape(explanation),
        ray=escape(ray),
    )
    return Page(status, page.encode())


def worker_threw(host: str, ray: str) -> Page:
    """Return the page for an uncaught exception, 1101."""
    explanation = "You've requested a page on a website that is on the Cloudflare network. An unknown error occurred"
    return error_page(
        500, 1101, "Worker threw exception", f"{explanation} while rendering the page.", host=host, ray=ray
    )


def worker_exceeded_limits(host: str, ray: str) -> Page:
    """Return the page for a Worker that was ended because it used too much CPU time, 1102."""
    return error_page(
        503, 1102, "Worker exceeded resource limits", "The Worker used up its CPU time.", host=host, ray=ray
    )


def worker_loops(host: str, ray: str) -> Page:
    """Return the page for a request that Workers passed on too often, 1019."""
    return error_page(
        500, 1019, "Compute server error", "Workers passed this request on to each other too often.", host=host, ray=ray
    )


def worker_unavailable(host: str, ray: str, why: str) -> Page:
    """Return the page for a version that doesn't start, 1104; Cloudflare has no such state."""
    return error_page(503, 1104, "Worker could not be started", why, host=host, ray=ray)


def nothing_here(ray: str) -> Page:
    """Return the page of a workers.dev hostname that nobody has or that is switched off."""
    body = (
        '<!DOCTYPE html><html lang="en-US"><head><title>There is nothing here yet</title></head><body>'
        "<h1>There is nothing here yet</h1><p>If you expect something to be here, it may take some time. "
        f"Please check back again later.</p><p>Ray ID: <strong>{escape(ray)}</strong></p></body></html>\n"
    )
    return Page(404, body.encode())


def origin_dns_error() -> Page:
    """Return the answer for a hostname with neither a Worker nor an origin, 1016."""
    return Page(530, b"error code: 1016", b"text/plain; charset=UTF-8")
