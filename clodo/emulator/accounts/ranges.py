"""``/ips``: the addresses that Cloudflare's edge calls origins from."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import envelope

#: https://www.cloudflare.com/ips/, unchanged since 2023; whoever allows no other addresses asks for them.
_IPV4 = (
    "173.245.48.0/20 103.21.244.0/22 103.22.200.0/22 103.31.4.0/22 141.101.64.0/18 108.162.192.0/18 190.93.240.0/20"
    " 188.114.96.0/20 197.234.240.0/22 198.41.128.0/17 162.158.0.0/15 104.16.0.0/13 104.24.0.0/14 172.64.0.0/13"
    " 131.0.72.0/22"
)
_IPV6 = "2400:cb00::/32 2606:4700::/32 2803:f800::/32 2405:b500::/32 2405:8100::/32 2a06:98c0::/29 2c0f:f248::/32"
_ETAG = "38f79d050aa027e3be3865e495dcc9bc"


def routes() -> list[Route]:
    """Return the routes, relative to ``/client/v4``; nobody has to say who asks."""

    async def list_ranges(request: Request) -> Response:
        return envelope({"ipv4_cidrs": _IPV4.split(), "ipv6_cidrs": _IPV6.split(), "etag": _ETAG})

    return [Route("/ips", list_ranges, methods=["GET"])]
