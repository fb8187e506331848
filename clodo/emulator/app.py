"""
The embedded cloud as one ASGI application on one port.

The ``Host`` decides: the API's own names lead to ``/client/v4``, hostnames of the accounts' Workers to the data
plane, and anything else is refused, so that no web page can reach the API by pointing a name of its own at us.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from clodo.emulator.access import AccessLog, Recorded
from clodo.emulator.accounts import audit_routes, ranges, token_routes
from clodo.emulator.accounts import routes as account_routes
from clodo.emulator.accounts.audit import AuditLog
from clodo.emulator.accounts.authentication import Authenticated
from clodo.emulator.accounts.store import Accounts
from clodo.emulator.admin import PREFIX as ADMIN_PREFIX
from clodo.emulator.admin import admin_app
from clodo.emulator.analytics.recorder import Recorder
from clodo.emulator.analytics.routes import Analytics
from clodo.emulator.analytics.store import Facts
from clodo.emulator.blobs import Blobs
from clodo.emulator.clock import now, unix_milliseconds
from clodo.emulator.config import AccountKeys, CloudConfig
from clodo.emulator.containers.routes import routes as container_routes
from clodo.emulator.containers.store import Applications
from clodo.emulator.d1.routes import link_routes as d1_link_routes
from clodo.emulator.d1.routes import routes as d1_routes
from clodo.emulator.d1.store import Databases
from clodo.emulator.d1.transfers import Transfers
from clodo.emulator.database import Database
from clodo.emulator.dns.routes import routes as dns_routes
from clodo.emulator.dns.store import Records
from clodo.emulator.envelope import EXCEPTION_HANDLERS, UnexpectedErrors
from clodo.emulator.faults import Faults, Faulty, RequestLimit
from clodo.emulator.kv.routes import routes as kv_routes
from clodo.emulator.kv.store import Namespaces
from clodo.emulator.pages.asset_routes import routes as pages_asset_routes
from clodo.emulator.pages.deploying import Deploying
from clodo.emulator.pages.directory import PagesDirectory
from clodo.emulator.pages.routes import routes as pages_routes
from clodo.emulator.pages.serving import SitesApp
from clodo.emulator.pages.store import Projects
from clodo.emulator.pages.tail_routes import routes as pages_tail_routes
from clodo.emulator.pages.tokens import UploadTokens
from clodo.emulator.queues.deliveries import Deliveries
from clodo.emulator.queues.messages import Messages
from clodo.emulator.queues.producing import Producing
from clodo.emulator.queues.routes import routes as queue_routes
from clodo.emulator.queues.store import Queues
from clodo.emulator.queues.subscription_routes import routes as subscription_routes
from clodo.emulator.queues.subscriptions import Subscriptions
from clodo.emulator.r2.binding import BucketBindings
from clodo.emulator.r2.buckets import Buckets
from clodo.emulator.r2.lifecycles import Lifecycles
from clodo.emulator.r2.notification_routes import routes as notification_routes
from clodo.emulator.r2.notifications import Notifications
from clodo.emulator.r2.object_routes import routes as object_routes
from clodo.emulator.r2.public import PublicBuckets
from clodo.emulator.r2.routes import routes as bucket_routes
from clodo.emulator.r2.s3.endpoint import S3Endpoint, is_for_s3
from clodo.emulator.r2.s3.faults import S3_DIALECT
from clodo.emulator.r2.setting_routes import routes as bucket_setting_routes
from clodo.emulator.r2.store import Storage
from clodo.emulator.runtime.config import RuntimeConfig
from clodo.emulator.runtime.kept_objects import settle
from clodo.emulator.runtime.points import Points
from clodo.emulator.runtime.ports import Backlog
from clodo.emulator.runtime.router import RouterApp
from clodo.emulator.runtime.runtime import Runtime
from clodo.emulator.runtime.schedules import ScheduleClock, Trigger
from clodo.emulator.tails.sessions import SOCKET_PATH, TailSessions
from clodo.emulator.workers import (
    account_settings,
    assets,
    dispatch_routes,
    domains,
    new_workers,
    scripts,
    services,
    triggers,
    versions,
)
from clodo.emulator.workers import secrets as secret_routes
from clodo.emulator.workers.assets import AssetSessions
from clodo.emulator.workers.directory import WorkerDirectory
from clodo.emulator.workers.dispatch import DispatchNamespaces, owner_of
from clodo.emulator.workers.publishing import Publisher
from clodo.emulator.workers.store import Scripts
from clodo.emulator.workflows.routes import routes as workflow_routes
from clodo.emulator.workflows.store import Workflows
from clodo.emulator.zones import cache, certificates, dns_settings, dnssec, setting_routes, subscriptions
from clodo.emulator.zones import routes as zone_list_routes
from clodo.emulator.zones.store import Zones

API_PREFIX = "/client/v4"

#: Names under which the API itself may be called, besides the address it listens on.
API_HOSTS = frozenset({"127.0.0.1", "localhost", "::1", "api.cloudflare.com"})

#: What is about accounts, zones and users takes a slash at the end of a path (public clients of many years, such as
#: ddclient, ask for ``/zones/?name=``), and so do Workflows (wrangler asks for ``/instances/``); elsewhere below an
#: account it may be part of a key.
_ENDS_IN_A_SLASH = re.compile(
    rf"^({API_PREFIX}/(?:accounts(?:/[^/]+/workflows(?:/.+)?)?|memberships|user(?:/.+)?|zones(?:/.+)?))/$"
)


@dataclass(frozen=True, slots=True)
class _AccountCatalogue:
    """What one account has, for checking the bindings of its Workers."""

    account_id: str
    databases: Databases
    namespaces: Namespaces
    buckets: Buckets
    queues: Queues
    scripts: Scripts
    dispatch_namespaces: DispatchNamespaces

    def has_database(self, database_id: str) -> bool:
        return self.databases.exists(self.account_id, database_id)

    def has_namespace(self, namespace_id: str) -> bool:
        return self.namespaces.exists(self.account_id, namespace_id)

    def has_bucket(self, name: str) -> bool:
        return self.buckets.exists(self.account_id, name)

    def has_queue(self, name: str) -> bool:
        return self.queues.exists(self.account_id, name)

    def has_script(self, name: str) -> bool:
        return self.scripts.get(self.account_id, name) is not None

    def has_dispatch_namespace(self, name: str) -> bool:
        return self.dispatch_namespaces.named(self.account_id, name) is not None

    def object_classes(self, script: str) -> Collection[str] | None:
        found = self.scripts.get(self.account_id, script)
        return None if found is None else {known.name for known in self.scripts.object_classes(found)}


class Cloud:
    """
    Everything the embedded cloud is made of; an ASGI application.

    Attributes:
        url: Root of the API; known once the server listens.

        first_account: Keys of the account it was started with.

        admin_token: For ``/__clodo/…``; a fresh one each start.

        endpoints: Method and path (below ``/client/v4``, with names for what varies) of everything the API serves.
    """

    def __init__(self, config: CloudConfig) -> None:
        config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.config = config
        self.url = f"http://{config.host}:{config.port}{API_PREFIX}"
        self.admin_token = secrets.token_urlsafe(30)
        self.database = Database(config.data / "cloud.db")
        self.blobs = Blobs(config.data / "blobs")
        self.log = AccessLog(config.data / "access.jsonl")
        self.faults = Faults()
        self.limit = RequestLimit(is_on=config.rate_limit)
        self.zones = Zones(self.database)
        self.records = Records(self.database)
        self.accounts = Accounts(self.database, self.zones)
        self.audit = AuditLog(self.database, self.zones)
        self.first_account: AccountKeys = self.accounts.first(
            config.account_id, config.token, config.workers_subdomain, config.zones
        )
        self.scripts = Scripts(self.database)
        self.dispatch_namespaces = DispatchNamespaces(self.database, self.scripts)
        self.scripts.forget_asset_sessions(now(ago=timedelta(days=1)))
        self.blobs.keep_only(self.scripts.blobs_in_use())
        self.databases = Databases(config.data / "d1")
        self.transfers = Transfers(self.databases)
        self.namespaces = Namespaces(config.data / "kv")
        self.storage = Storage(config.data / "r2")
        self.messages = Messages(config.data / "queues.db")
        self.points = Points(config.data / "points.db", unix_milliseconds)
        self.queues = Queues(self.database, self.scripts, self.messages)
        self.deliveries = Deliveries(self.queues, self.messages, self._consume, unix_milliseconds)
        self.producing = Producing(self.queues, self.messages, unix_milliseconds, self.deliveries.wake)
        self.workflows = Workflows(self.database)
        self.applications = Applications(self.database)
        self.storage.tell_with(Notifications(self.queues, self.producing).tell)
        self.subscriptions = Subscriptions(self.database, self.queues, self.producing)
        self._kept_objects = config.data / "runtime" / "objects"
        settle(self._kept_objects, self.scripts.owners_of_classes())
        self.directory = WorkerDirectory(self.scripts, self.accounts, self.zones, self.blobs)
        self.projects = Projects(self.database)
        self._site_blobs = Blobs(config.data / "pages")
        self._site_blobs.keep_only(self.projects.blobs_in_use())
        self.sites = PagesDirectory(self.projects, self._site_blobs, self.directory)
        self.runtime = Runtime(
            RuntimeConfig(workerd=config.workerd, data=config.data / "runtime"),
            self.sites,
            databases=self.databases,
            namespaces=self.namespaces,
            buckets=BucketBindings(self.storage),
            queues=self.producing,
            events=self.points,
            random=_random(config.seed),
        )
        self.sessions = AssetSessions(self.scripts, self.blobs, _kept_key(config.data / "assets.key"))
        self.facts = Facts(config.data / "analytics.db")
        self.recorder = Recorder(self.facts, tag_of=self._tag_of)
        self.analytics = Analytics(self.facts, self.recorder)
        self.runtime.recorder = self.databases.recorder = self.namespaces.recorder = self.recorder
        self.recorder.watch(self.databases.sizes)
        self.recorder.watch(self.namespaces.sizes)
        self.recorder.watch(self.storage.sizes)
        self.storage.count_with(self.recorder)
        self.lifecycles = Lifecycles(self.storage)
        self._background: list[asyncio.Task[None]] = []
        self.publisher = Publisher(
            self.database, self.scripts, self.blobs, self.directory, self.runtime, self.sessions, self._catalogue
        )
        self.tails = TailSessions(
            self.runtime, self.publisher, lambda: self.url.removesuffix(API_PREFIX).replace("http", "ws", 1)
        )
        self.schedules = ScheduleClock(
            lambda: (Trigger(*row) for row in self.scripts.all_schedules()),
            self.runtime.orders.scheduled,
            lambda: datetime.now(UTC),
        )
        self._router = SitesApp(RouterApp(self.runtime, self.sites), self.sites)
        self._upload_tokens = UploadTokens(_kept_key(config.data / "pages.key"))
        self._deploying = Deploying(self.projects, self._site_blobs, self.runtime, self._objects_of)
        self._admin = admin_app(self)
        self._links = _enveloped(d1_link_routes(self.transfers))
        self._public_buckets = PublicBuckets(self.storage)
        s3 = UnexpectedErrors(S3Endpoint(self.storage, self.accounts))
        self._s3: ASGIApp = Recorded(Faulty(s3, self.faults, S3_DIALECT), self.log)
        self._api: ASGIApp = Recorded(
            Faulty(Authenticated(self._api_app(), self.accounts, self.zones, self.limit), self.faults),
            self.log,
            self.audit.note,
        )

    def r2_keys(self) -> dict[str, str]:
        """Return where the first account's S3 endpoint is, and its access key; the secret is its token's SHA-256."""
        holder = self.accounts.tokens.authenticate(self.first_account.token)
        assert holder is not None, "the first account was given this token"
        root = self.url.removesuffix(API_PREFIX)
        return {"r2_url": f"{root}/r2/{self.first_account.account_id}", "r2_access_key_id": holder.token_id}

    async def start(self) -> None:
        """Get the data plane ready; Workers' processes start with their first request."""
        await self.runtime.start()
        self.deliveries.start()
        self.schedules.start()
        self._background = [asyncio.create_task(self.recorder.run()), asyncio.create_task(self.lifecycles.run())]

    async def stop(self) -> None:
        """End everything; safe to repeat."""
        self.tails.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.schedules.stop()
        await self.deliveries.stop()
        await self.runtime.stop()
        await self.transfers.close()
        await self.databases.close()
        await self.namespaces.close()
        await self.storage.close()
        self.messages.close()
        self.points.close()
        self.facts.close()
        self.log.close()
        self.database.close()

    async def _consume(
        self, account_id: str, script: str, queue: str, messages: Sequence[Mapping[str, Any]], backlog: Backlog
    ) -> Mapping[str, Any]:
        return await self.runtime.orders.queue(account_id, script, queue, messages, backlog)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        host = _host(scope)
        is_own = host in API_HOSTS or host == self.config.host
        if scope["type"] == "http" and is_for_s3(host, scope, is_own=is_own):
            await self._s3(scope, receive, send)
        elif scope["type"] == "http" and not is_own and self._public_buckets.knows(host):
            await self._public_buckets(scope, receive, send)
        elif is_own:
            await self._own(scope, receive, send)
        elif self.directory.knows(host) or self.sites.knows(host):
            await self._router(scope, receive, send)
        else:
            await _refuse(scope, receive, send)

    async def _own(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["type"] == "websocket":
            if path.startswith(SOCKET_PATH):
                await self.tails.serve(WebSocket(scope, receive, send))
            else:
                await WebSocket(scope, receive, send).close(code=1008)
        elif path.startswith(API_PREFIX):
            # Routes see the path as it was sent: a key with an encoded slash is one segment.
            raw = (scope.get("raw_path") or path.encode()).partition(b"?")[0].decode("latin-1")
            raw = _ENDS_IN_A_SLASH.sub(r"\1", raw)
            await self._api({**scope, "path": raw, "raw_path": raw.encode("latin-1")}, receive, send)
        elif path.startswith(ADMIN_PREFIX):
            await self._admin(scope, receive, send)
        elif path.startswith("/__d1/"):
            await self._links(scope, receive, send)
        else:
            text = f"This is Clodo's embedded cloud. The API is at {API_PREFIX}; Workers answer to their hostnames.\n"
            await PlainTextResponse(text, status_code=200 if path == "/" else 404)(scope, receive, send)

    @property
    def api_routes(self) -> Sequence[BaseRoute]:
        """Every route of the API."""
        return self._api_app().routes

    def _api_app(self) -> Starlette:
        own_workers: list[Route] = [
            *scripts.routes(self.scripts, self.publisher, self.blobs, self.directory),
            *secret_routes.routes(self.scripts, self.publisher),
            *assets.routes(self.sessions),
        ]
        per_account: list[Route] = [
            *own_workers,
            *dispatch_routes.routes(self.dispatch_namespaces, self.scripts, self.publisher, own_workers),
            *versions.routes(self.scripts, self.publisher),
            *triggers.account_routes(self.scripts, self.publisher, self.accounts, self.zones, self.directory),
            *domains.routes(self.scripts, self.publisher, self.zones, self.records, self.directory),
            *services.routes(self.scripts, self.publisher, self.zones, self._kept_objects),
            *new_workers.routes(self.scripts, self.publisher, self.directory, self.blobs),
            *account_settings.routes(self.database),
            *self.tails.routes(),
            *d1_routes(self.databases, self.transfers),
            *kv_routes(self.namespaces, self.subscriptions.publish),
            *bucket_routes(self.storage),
            *object_routes(self.storage),
            *pages_routes(self.projects, self._deploying, self.sites, self._upload_tokens, self.zones),
            *pages_tail_routes(self.projects, self.tails),
            *bucket_setting_routes(self.storage, self.zones),
            *notification_routes(self.storage, self.queues),
            *queue_routes(self.queues, self.messages, self.producing, self.deliveries),
            *subscription_routes(self.subscriptions),
            *workflow_routes(self.workflows, self.scripts),
            *container_routes(self.applications),
        ]
        general: list[Route] = [
            *self.analytics.routes(),
            *pages_asset_routes(self.projects, self._site_blobs, self._upload_tokens),
            *account_routes.routes(self.accounts),
            *ranges.routes(),
            *token_routes.routes(self.accounts),
            *audit_routes.routes(self.accounts, self.audit),
            *zone_list_routes.routes(self.zones, self.accounts, self.directory.refresh_hosts),
            *setting_routes.routes(self.database, self.zones),
            *cache.routes(self.zones, self.runtime.cache),
            *certificates.routes(self.zones),
            *dns_settings.routes(self.zones),
            *dnssec.routes(self.zones),
            *subscriptions.routes(self.zones, self.accounts),
            *dns_routes(self.database, self.zones, self.records),
            *triggers.zone_routes(self.scripts, self.zones, self.directory),
        ]
        self.endpoints = sorted(
            {
                (method, prefix + route.path)
                for prefix, routes in (("", general), ("/accounts/{account_id}", per_account))
                for route in routes
                for method in (route.methods or set()) - {"HEAD"}
            },
            key=lambda endpoint: (endpoint[1], endpoint[0]),
        )
        mounted = Router(
            [*general, Mount("/accounts/{account_id}", app=Router(per_account, redirect_slashes=False))],
            redirect_slashes=False,
        )
        return _enveloped([Mount(API_PREFIX, app=mounted)])

    def _objects_of(self, account_id: str) -> Mapping[str, tuple[str, str]]:
        """Return the namespaces of Durable Objects of an account: the Worker and class of each."""
        return {
            known.id: (script.name, known.name)
            for script in self.scripts.of_account(account_id)
            for known in self.scripts.object_classes(script)
        }

    def _tag_of(self, account_id: str, script: str) -> str:
        found = self.scripts.get(account_id, script)
        return "" if found is None else found.id

    def _catalogue(self, account_id: str) -> _AccountCatalogue:
        return _AccountCatalogue(
            owner_of(account_id),
            self.databases,
            self.namespaces,
            self.storage.buckets,
            self.queues,
            self.scripts,
            self.dispatch_namespaces,
        )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(config: CloudConfig) -> Cloud:
    """Return the embedded cloud, ready to be served."""
    return Cloud(config)


def _enveloped(routes: Sequence[BaseRoute]) -> Starlette:
    """Return an application that answers errors in Cloudflare's envelope."""
    app = Starlette(
        routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS), middleware=[Middleware(UnexpectedErrors)]
    )
    # The real API doesn't redirect to paths with or without a slash at the end: it serves some of them.
    app.router.redirect_slashes = False
    return app


def _host(scope: Scope) -> str:
    """Return the host that was asked for: lower case, without port."""
    value = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0].rstrip(".")


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).close(code=1008)
        return
    text = (
        "Misdirected request: this hostname belongs neither to the embedded cloud's API (127.0.0.1, localhost)"
        " nor to a Worker, workers.dev subdomain or zone of one of its accounts.\n"
    )
    await PlainTextResponse(text, status_code=421)(scope, receive, send)


def _random(seed: int | None) -> Callable[[], float]:
    return random.Random(seed).random


def _kept_key(path: Path) -> bytes:
    """Return the secret kept in a file of mode 0600, made when there is none."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    return path.read_bytes()
