"""How Workers, versions and deployments look in answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clodo.emulator.workers.bindings import without_secrets
from clodo.emulator.workers.store import Deployment, Script, Scripts, Version


def live_version(scripts: Scripts, script: Script) -> Version | None:
    """Return the version with the most traffic; the newest one if nothing is deployed."""
    current = scripts.current_deployment(script)
    if current is None:
        return scripts.newest_version(script)
    version_id, _ = max(current.traffic, key=lambda pair: pair[1])
    return scripts.version(script, version_id)


def script_answer(scripts: Scripts, script: Script) -> dict[str, Any]:
    """Return a Worker as the list of scripts and an upload show it."""
    version = live_version(scripts, script)
    content = version.content if version else None
    answer: dict[str, Any] = {
        "id": script.name,
        "tag": script.id,
        "tags": script.settings.get("tags"),
        "etag": version.etag if version else "",
        "handlers": content.handlers if content else [],
        "named_handlers": _named_handlers(content.named_handlers if content else {}),
        "created_on": script.created_on,
        "modified_on": script.modified_on,
        "usage_model": (content.extra.get("usage_model") if content else None) or "standard",
        "has_assets": bool(content and content.assets),
        "has_modules": bool(content and content.main_module),
        "last_deployed_from": script.last_deployed_from,
        "logpush": bool(script.settings.get("logpush", False)),
        "tail_consumers": script.settings.get("tail_consumers"),
        "compatibility_date": content.compatibility_date if content else "",
        "compatibility_flags": content.compatibility_flags if content else [],
    }
    if "observability" in script.settings:
        answer["observability"] = script.settings["observability"]
    if script.migration_tag:
        answer["migration_tag"] = script.migration_tag
    placement = content.extra.get("placement") if content else None
    if placement:
        answer["placement"] = placement
        answer["placement_mode"] = placement.get("mode")
    return answer


def version_answer(version: Version, script: Script, *, whole: bool = True) -> dict[str, Any]:
    """
    Return a version.

    Args:
        whole: With what it is made of; lists show versions without.
    """
    metadata = {
        "created_on": version.created_on,
        "modified_on": version.created_on,
        "source": version.source,
        "author_id": version.author["id"],
        "author_email": version.author["email"],
        # wrangler reads the one, the API's schema names the other.
        "has_preview": version.has_preview,
        "hasPreview": version.has_preview,
    }
    answer: dict[str, Any] = {
        "id": version.id,
        "number": version.number,
        "metadata": metadata,
        "annotations": version.annotations,
    }
    if not whole:
        return answer
    content = version.content
    runtime: dict[str, Any] = {
        "compatibility_date": content.compatibility_date,
        "compatibility_flags": content.compatibility_flags,
        "usage_model": content.extra.get("usage_model") or "standard",
    }
    if "limits" in content.extra:
        runtime["limits"] = content.extra["limits"]
    if script.migration_tag:
        runtime["migration_tag"] = script.migration_tag
    answer["resources"] = {
        "bindings": without_secrets(content.bindings),
        "script": {
            "etag": version.etag,
            "handlers": content.handlers,
            "named_handlers": _named_handlers(content.named_handlers),
            "last_deployed_from": version.source,
        },
        "script_runtime": runtime,
    }
    answer["startup_time_ms"] = version.startup_time_ms
    return answer


def deployment_answer(deployment: Deployment) -> dict[str, Any]:
    """Return a deployment."""
    return {
        "id": deployment.id,
        "source": deployment.source,
        "strategy": "percentage",
        "author_email": deployment.author["email"],
        "annotations": deployment.annotations,
        "created_on": deployment.created_on,
        "versions": [
            {"version_id": version_id, "percentage": int(share) if share == int(share) else share}
            for version_id, share in deployment.traffic
        ],
    }


def _named_handlers(named: dict[str, Sequence[str]] | dict[str, list[str]]) -> list[dict[str, Any]]:
    return [{"name": name, "handlers": list(handlers)} for name, handlers in named.items()]
