"""``/r2/buckets/{bucket}/cors``, ``lifecycle``, ``lock``, ``domains`` and ``local-uploads``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.envelope import envelope, object_body
from clodo.emulator.r2.buckets import dev_hostname
from clodo.emulator.r2.errors import INVALID_ARGUMENT, NO_SUCH_CORS, NO_SUCH_DOMAIN, R2Refused
from clodo.emulator.r2.records import Bucket
from clodo.emulator.r2.routes import bucket_of, route
from clodo.emulator.r2.rules import (
    MAX_CORS_RULES,
    MAX_LIFECYCLE_RULES,
    MAX_LOCK_RULES,
    check_cors,
    check_lifecycle,
    check_lock,
    lifecycle_of,
    rules_in,
)
from clodo.emulator.r2.store import Storage
from clodo.emulator.zones.store import Zones

_TLS_VERSIONS = ("1.0", "1.1", "1.2", "1.3")


def routes(storage: Storage, zones: Zones) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def get_cors(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        if "cors" not in bucket.settings:
            raise R2Refused(NO_SUCH_CORS)
        return envelope({"rules": bucket.settings["cors"]})

    async def put_cors(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        rules = rules_in(await object_body(request), check_cors, MAX_CORS_RULES)
        await storage.buckets.set_settings(bucket, {"cors": rules})
        return envelope({})

    async def delete_cors(request: Request) -> Response:
        await storage.buckets.set_settings(bucket_of(storage, request), {"cors": None})
        return envelope({})

    async def get_lifecycle(request: Request) -> Response:
        return envelope({"rules": list(lifecycle_of(bucket_of(storage, request)))})

    async def put_lifecycle(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        rules = rules_in(await object_body(request), check_lifecycle, MAX_LIFECYCLE_RULES)
        await storage.buckets.set_settings(bucket, {"lifecycle": rules})
        return envelope({})

    async def get_lock(request: Request) -> Response:
        return envelope({"rules": bucket_of(storage, request).settings.get("lock", [])})

    async def put_lock(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        rules = rules_in(await object_body(request), check_lock, MAX_LOCK_RULES)
        await storage.buckets.set_settings(bucket, {"lock": rules})
        return envelope({})

    async def get_managed(request: Request) -> Response:
        return envelope(_managed(bucket_of(storage, request)))

    async def put_managed(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        enabled = (await object_body(request)).get("enabled")
        if not isinstance(enabled, bool):
            raise R2Refused(INVALID_ARGUMENT.saying("enabled must be true or false."))
        return envelope(_managed(await storage.buckets.set_settings(bucket, {"is_public": enabled})))

    async def list_domains(request: Request) -> Response:
        return envelope({"domains": [_domain(one) for one in _domains(bucket_of(storage, request)).values()]})

    async def add_domain(request: Request) -> Response:
        bucket, body = bucket_of(storage, request), await object_body(request)
        name, zone = str(body.get("domain") or "").lower(), zones.get(str(body.get("zoneId") or ""))
        if zone is None or zone["account_id"] != bucket.account_id:
            raise R2Refused(INVALID_ARGUMENT.saying("zoneId must be that of a zone in this account."))
        if name != zone["name"] and not name.endswith("." + zone["name"]):
            raise R2Refused(INVALID_ARGUMENT.saying(f"The domain must be in the zone {zone['name']}."))
        made = {
            "domain": name,
            "enabled": bool(body.get("enabled", True)),
            "minTLS": _tls(body.get("minTLS") or "1.0"),
            "zoneId": zone["id"],
            "zoneName": zone["name"],
        }
        await _keep_domains(bucket, {**_domains(bucket), name: made})
        return envelope({key: made[key] for key in ("domain", "enabled", "minTLS", "zoneId")})

    async def get_domain(request: Request) -> Response:
        return envelope(_domain(_one_domain(bucket_of(storage, request), request)))

    async def change_domain(request: Request) -> Response:
        bucket, body = bucket_of(storage, request), await object_body(request)
        known = _one_domain(bucket, request)
        changed = {
            **known,
            "enabled": bool(body.get("enabled", known["enabled"])),
            "minTLS": _tls(body.get("minTLS") or known["minTLS"]),
        }
        await _keep_domains(bucket, {**_domains(bucket), changed["domain"]: changed})
        return envelope({key: changed[key] for key in ("domain", "enabled", "minTLS")})

    async def remove_domain(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        gone = _one_domain(bucket, request)["domain"]
        await _keep_domains(bucket, {name: one for name, one in _domains(bucket).items() if name != gone})
        return envelope({"domain": gone})

    async def _keep_domains(bucket: Bucket, domains: Mapping[str, Any]) -> None:
        await storage.buckets.set_settings(bucket, {"domains": dict(domains) or None})

    async def get_local_uploads(request: Request) -> Response:
        return envelope({"enabled": bool(bucket_of(storage, request).settings.get("local_uploads"))})

    async def put_local_uploads(request: Request) -> Response:
        bucket = bucket_of(storage, request)
        enabled = bool((await object_body(request)).get("enabled"))
        await storage.buckets.set_settings(bucket, {"local_uploads": enabled})
        return envelope({"enabled": enabled})

    one = "/r2/buckets/{bucket}"
    custom = f"{one}/domains/custom"
    return [
        route(f"{one}/cors", get_cors, "GET"),
        route(f"{one}/cors", put_cors, "PUT"),
        route(f"{one}/cors", delete_cors, "DELETE"),
        route(f"{one}/lifecycle", get_lifecycle, "GET"),
        route(f"{one}/lifecycle", put_lifecycle, "PUT"),
        route(f"{one}/lock", get_lock, "GET"),
        route(f"{one}/lock", put_lock, "PUT"),
        route(f"{one}/domains/managed", get_managed, "GET"),
        route(f"{one}/domains/managed", put_managed, "PUT"),
        route(custom, list_domains, "GET"),
        route(custom, add_domain, "POST"),
        route(custom + "/{domain}", get_domain, "GET"),
        route(custom + "/{domain}", change_domain, "PUT"),
        route(custom + "/{domain}", remove_domain, "DELETE"),
        route(f"{one}/local-uploads", get_local_uploads, "GET"),
        route(f"{one}/local-uploads", put_local_uploads, "PUT"),
    ]


def _managed(bucket: Bucket) -> dict[str, Any]:
    is_public = bool(bucket.settings.get("is_public"))
    return {"bucketId": bucket.id, "domain": dev_hostname(bucket), "enabled": is_public}


def _domains(bucket: Bucket) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = bucket.settings.get("domains", {})
    return found


def _one_domain(bucket: Bucket, request: Request) -> dict[str, Any]:
    found = _domains(bucket).get(request.path_params["domain"].lower())
    if found is None:
        raise R2Refused(NO_SUCH_DOMAIN)
    return found


def _domain(one: Mapping[str, Any]) -> dict[str, Any]:
    # Certificates take no time here.
    return {**one, "status": {"ownership": "active", "ssl": "active"}}


def _tls(version: object) -> str:
    if version not in _TLS_VERSIONS:
        raise R2Refused(INVALID_ARGUMENT.saying(f"minTLS must be one of {', '.join(_TLS_VERSIONS)}."))
    return str(version)
