"""The connections to the API, and what all views of a client share beside them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx

from clodo.cloudflare.breaker import PROCESS_BREAKERS, Breakers
from clodo.cloudflare.budget import Budget, InMemoryBudget
from clodo.cloudflare.clock import Clock
from clodo.errors import BadUsage, NotAuthorised
from clodo.logs import register_secret

USER_AGENT = "clodo"
ANSWERS_WITHIN = timedelta(seconds=60)
CONNECTS_WITHIN = timedelta(seconds=10)
CONNECTIONS = httpx.Limits(max_connections=32, max_keepalive_connections=16)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Bearer(httpx.Auth):
    """Keeps the token out of every variable, repr and traceback but this."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        request.headers["Authorization"] = self._header
        yield request

    def __repr__(self) -> str:
        return "_Bearer(***)"


class Wire:
    """What all views of a client share: connections, token, budget, breakers and clock."""

    def __init__(
        self,
        token: str,
        base_url: str,
        *,
        budget: Budget | None,
        clock: Clock,
        breakers: Breakers | None,
        transport: httpx.BaseTransport | None,
        answers_within: timedelta = ANSWERS_WITHIN,
    ) -> None:
        # httpx quotes a header that it can't send in its error, so that such a token must not get that far.
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise NotAuthorised(
                "The API token is empty or holds characters that no token has",
                hint="Save it again in the CloudflareAccount block, without quotes or line ends.",
            )
        url = httpx.URL(base_url.rstrip("/"))
        if url.scheme not in ("http", "https") or not url.host:
            raise BadUsage(f"The API's base URL must be an http(s) URL, not {base_url!r}")
        register_secret(token)
        self.base_url = str(url)
        self.budget: Budget = budget if budget is not None else InMemoryBudget(clock=clock)
        self.breakers = breakers if breakers is not None else PROCESS_BREAKERS
        self.clock = clock
        self.client = httpx.Client(
            auth=_Bearer(token),
            headers={"User-Agent": USER_AGENT},
            timeout=httpx.Timeout(answers_within.total_seconds(), connect=CONNECTS_WITHIN.total_seconds()),
            limits=CONNECTIONS,
            transport=transport,
            # A proxy must not come between us and the embedded cloud.
            trust_env=url.host not in LOOPBACK,
        )

    def __repr__(self) -> str:
        return f"Wire({self.base_url!r})"
