"""The client for one account: every product of the API as typed calls, with retries, budget and breaker underneath."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import Self

import httpx

from clodo.cloudflare.accounts import Accounts
from clodo.cloudflare.api import Api
from clodo.cloudflare.breaker import Breakers
from clodo.cloudflare.budget import Budget, Lane
from clodo.cloudflare.certificates import Certificates
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.cloudflare.d1 import D1
from clodo.cloudflare.deployments import Deployments
from clodo.cloudflare.dns import Dns
from clodo.cloudflare.domains import Domains
from clodo.cloudflare.kv import KV
from clodo.cloudflare.originals import Originals
from clodo.cloudflare.queues import Queues
from clodo.cloudflare.r2 import R2
from clodo.cloudflare.routes import Routes
from clodo.cloudflare.schedules import Schedules
from clodo.cloudflare.scripts import Scripts
from clodo.cloudflare.secrets import Secrets
from clodo.cloudflare.sending import Guard, Sending
from clodo.cloudflare.settings import Settings
from clodo.cloudflare.subdomains import Subdomains
from clodo.cloudflare.tails import Tails
from clodo.cloudflare.user import User
from clodo.cloudflare.versions import Versions
from clodo.cloudflare.wire import ANSWERS_WITHIN, Wire
from clodo.cloudflare.workers import Workers
from clodo.cloudflare.zones import Zones

BASE_URL = "https://api.cloudflare.com/client/v4"


class Cloudflare:
    """
    One account, through one token; safe to share between threads.

    Use it as a context manager, or call `close`. `with_lane` and `with_guard` give views that share its connections.

    Args:
        account_id: 32 hex digits.

        token: API token; it never shows in a repr, a log or an error.

        base_url: The API's root; the embedded cloud's when rehearsing.

        budget: Where requests are taken from; by default one of this client's own, which other processes don't see.

        lane: What the requests are for: UNDO goes before RELEASE, READ and BACKUP.

        guard: Called before each write is sent, also before it is repeated; raises (LockLost) to forbid it.

        patience: For how long one call may wait for budget, ``Retry-After`` and repeats; by default 120 s, for UNDO
            10 min.

        clock: Time and chance.

        breakers: Circuit breakers by host; by default those of this process.

        transport: What sends the requests; for tests.

        answers_within: After so long without an answer a request is given up, its outcome unknown.
    """

    def __init__(
        self,
        account_id: str,
        token: str,
        base_url: str = BASE_URL,
        *,
        budget: Budget | None = None,
        lane: Lane = Lane.RELEASE,
        guard: Guard | None = None,
        patience: timedelta | None = None,
        clock: Clock = SYSTEM_CLOCK,
        breakers: Breakers | None = None,
        transport: httpx.BaseTransport | None = None,
        answers_within: timedelta = ANSWERS_WITHIN,
    ) -> None:
        wire = Wire(
            token,
            base_url,
            budget=budget,
            clock=clock,
            breakers=breakers,
            transport=transport,
            answers_within=answers_within,
        )
        self._api = Api(Sending(wire, lane=lane, guard=guard, patience=patience), account_id)
        self._owns_wire = True

    @property
    def account_id(self) -> str:
        """The account's id, 32 hex digits."""
        return self._api.account_id

    @property
    def base_url(self) -> str:
        """The API's root, without a slash at its end."""
        return self._api.base_url

    @property
    def clock(self) -> Clock:
        """Time and chance, as this client knows them."""
        return self._api.clock

    @property
    def lane(self) -> Lane:
        """The lane that this view's requests take from."""
        return self._api.lane

    def with_lane(self, lane: Lane) -> Cloudflare:
        """Return a view whose requests take from *lane*; closing it does nothing."""
        return self._view(self._api.with_lane(lane))

    def with_guard(self, guard: Guard | None) -> Cloudflare:
        """Return a view that calls *guard* before each write; closing it does nothing."""
        return self._view(self._api.with_guard(guard))

    def close(self) -> None:
        """Close the connections; of a view: do nothing."""
        if self._owns_wire:
            self._api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Cloudflare(account_id={self.account_id!r}, base_url={self.base_url!r}, lane={self.lane.value!r})"

    @cached_property
    def accounts(self) -> Accounts:
        """Accounts that the token sees."""
        return Accounts(self._api)

    @cached_property
    def user(self) -> User:
        """Whose token this is."""
        return User(self._api)

    @cached_property
    def zones(self) -> Zones:
        """Domains of the account."""
        return Zones(self._api)

    @cached_property
    def dns(self) -> Dns:
        """DNS records of zones."""
        return Dns(self._api)

    @cached_property
    def certificates(self) -> Certificates:
        """What zones present to visitors."""
        return Certificates(self._api)

    @cached_property
    def scripts(self) -> Scripts:
        """Workers."""
        return Scripts(self._api)

    @cached_property
    def workers(self) -> Workers:
        """Workers as the newer API has them."""
        return Workers(self._api)

    @cached_property
    def versions(self) -> Versions:
        """What was uploaded."""
        return Versions(self._api)

    @cached_property
    def deployments(self) -> Deployments:
        """What gets the traffic."""
        return Deployments(self._api)

    @cached_property
    def secrets(self) -> Secrets:
        """Names of secrets."""
        return Secrets(self._api)

    @cached_property
    def subdomains(self) -> Subdomains:
        """workers.dev."""
        return Subdomains(self._api)

    @cached_property
    def routes(self) -> Routes:
        """URL patterns of zones."""
        return Routes(self._api)

    @cached_property
    def domains(self) -> Domains:
        """Custom domains."""
        return Domains(self._api)

    @cached_property
    def schedules(self) -> Schedules:
        """Cron triggers."""
        return Schedules(self._api)

    @cached_property
    def queues(self) -> Queues:
        """Queues, and who receives from them."""
        return Queues(self._api)

    @cached_property
    def settings(self) -> Settings:
        """Unversioned settings of Workers."""
        return Settings(self._api)

    @cached_property
    def tails(self) -> Tails:
        """Live events."""
        return Tails(self._api)

    @cached_property
    def d1(self) -> D1:
        """D1 databases."""
        return D1(self._api)

    @cached_property
    def kv(self) -> KV:
        """KV namespaces."""
        return KV(self._api)

    @cached_property
    def r2(self) -> R2:
        """R2 buckets."""
        return R2(self._api)

    @cached_property
    def originals(self) -> Originals:
        """Answers as Cloudflare gave them."""
        return Originals(self._api)

    def _view(self, api: Api) -> Cloudflare:
        view = object.__new__(Cloudflare)
        view._api = api
        view._owns_wire = False
        return view
