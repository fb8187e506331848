"""Who depends on a Worker: service bindings, Durable Object bindings, tail consumers."""

from __future__ import annotations

from typing import Any

from clodo.emulator.envelope import ApiError
from clodo.emulator.workers.answers import live_version
from clodo.emulator.workers.store import Script, Scripts

#: Assumed: what a Worker that others depend on answers to its deletion.
IN_USE = 10064


def references_of(scripts: Scripts, script: Script) -> dict[str, Any]:
    """Return what refers to a Worker, as ``GET scripts/{name}/references`` shows it."""
    incoming, outgoing, objects = [], [], []
    namespaces = {known.name: known.id for known in scripts.object_classes(script)}
    for other in scripts.of_account(script.account_id):
        version = live_version(scripts, other)
        for binding in version.content.bindings if version else ():
            if binding["type"] == "service":
                reference = {"name": binding["name"], "environment": binding.get("environment") or "production"}
                if other.name == script.name and binding["service"] != script.name:
                    outgoing.append({**reference, "service": binding["service"]})
                elif other.name != script.name and binding["service"] == script.name:
                    incoming.append({**reference, "service": other.name})
            elif binding["type"] == "durable_object_namespace" and binding.get("script_name") == script.name:
                objects.append(
                    {
                        "service": other.name,
                        "environment": "production",
                        "name": binding["name"],
                        "durable_object_namespace_id": namespaces.get(binding["class_name"]),
                        "durable_object_namespace_name": f"{script.name}_{binding['class_name']}",
                    }
                )
    return {
        "services": {"incoming": incoming, "outgoing": outgoing, "pages_function": False},
        "durable_objects": objects,
        "dispatch_outbounds": [],
    }


def tail_producers(scripts: Scripts, script: Script) -> list[dict[str, Any]]:
    """Return the Workers that send their events to this one."""
    return [
        {"consumer": {"service": script.name, "environment": "production"}, "producer": {"service": other.name}}
        for other in scripts.of_account(script.account_id)
        if any(
            (consumer or {}).get("service") == script.name for consumer in other.settings.get("tail_consumers") or []
        )
    ]


def raise_if_referenced(scripts: Scripts, script: Script) -> None:
    """
    Refuse to delete what others depend on.

    Raises:
        ApiError: Another Worker binds to it.
    """
    found = references_of(scripts, script)
    users = sorted(
        {reference["service"] for reference in found["services"]["incoming"]}
        | {reference["service"] for reference in found["durable_objects"] if reference["service"] != script.name}
    )
    if users:
        raise ApiError(
            400,
            IN_USE,
            f"This Worker is referenced by: {', '.join(users)}. Use force=true to delete it anyway.",
        )
