"""What a project's settings mean for one deployment: its bindings, dates and flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clodo.emulator.envelope import ApiError

#: Namespaces of Durable Objects by id: the Worker that has each, and its class.
Objects = Mapping[str, tuple[str, str]]

ENVIRONMENTS = ("production", "preview")
INVALID_CONFIGURATION = 8000003

#: What every project begins with; as recorded, and a compatibility date as new projects have.
DEFAULTS: Mapping[str, Any] = {
    "always_use_latest_compatibility_date": False,
    "build_image_major_version": 3,
    "compatibility_date": "2026-01-01",
    "compatibility_flags": [],
    "env_vars": None,
    "fail_open": True,
    "usage_model": "standard",
}

#: A map of the settings to the bindings that its entries become.
_BINDINGS: Mapping[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]] = {
    "env_vars": lambda name, entry: {
        "type": entry.get("type") or "plain_text",
        "name": name,
        "text": str(entry.get("value") or ""),
    },
    "kv_namespaces": lambda name, entry: {
        "type": "kv_namespace",
        "name": name,
        "namespace_id": entry.get("namespace_id"),
    },
    "d1_databases": lambda name, entry: {"type": "d1", "name": name, "id": entry.get("id")},
    "r2_buckets": lambda name, entry: {
        "type": "r2_bucket",
        "name": name,
        "bucket_name": entry.get("name"),
        "jurisdiction": entry.get("jurisdiction"),
    },
    "queue_producers": lambda name, entry: {"type": "queue", "name": name, "queue_name": entry.get("name")},
    "services": lambda name, entry: {
        "type": "service",
        "name": name,
        "service": entry.get("service"),
        "entrypoint": entry.get("entrypoint"),
    },
    "analytics_engine_datasets": lambda name, entry: {
        "type": "analytics_engine",
        "name": name,
        "dataset": entry.get("dataset"),
    },
    "durable_object_namespaces": lambda name, entry: {
        "type": "durable_object_namespace",
        "name": name,
        "class_name": entry.get("class_name") or "",
        "script_name": entry.get("service") or "",
    },
    "ai_bindings": lambda name, entry: {"type": "ai", "name": name},
    "browsers": lambda name, entry: {"type": "browser", "name": name},
    "hyperdrive_bindings": lambda name, entry: {"type": "hyperdrive", "name": name, "id": entry.get("id")},
    "mtls_certificates": lambda name, entry: {
        "type": "mtls_certificate",
        "name": name,
        "certificate_id": entry.get("certificate_id"),
    },
    "vectorize_bindings": lambda name, entry: {
        "type": "vectorize",
        "name": name,
        "index_name": entry.get("index_name"),
    },
}

BINDING_KINDS = frozenset(_BINDINGS)


def bindings_of(settings: Mapping[str, Any], objects: Objects) -> list[dict[str, Any]]:
    """Return the bindings of a deployment with these settings, in the shape of Workers' uploads."""
    found: list[dict[str, Any]] = []
    for kind, make in _BINDINGS.items():
        for name, entry in (settings.get(kind) or {}).items():
            if (owner := objects.get((entry or {}).get("namespace_id", ""))) is not None:
                entry = {"service": owner[0], "class_name": owner[1]}
            found.append({key: value for key, value in make(name, entry or {}).items() if value is not None})
    return found


def merged(known: Mapping[str, Any], changes: object) -> dict[str, Any]:
    """
    Return settings by environment with *changes*: maps are merged, and null takes an entry away.

    Raises:
        ApiError: The changes aren't objects by environment.
    """
    if not isinstance(changes, dict) or not all(isinstance(changes.get(name) or {}, dict) for name in ENVIRONMENTS):
        raise ApiError(400, INVALID_CONFIGURATION, "deployment_configs must hold the objects production and preview.")
    return {name: _merged_one(known[name], changes.get(name) or {}) for name in ENVIRONMENTS}


def _merged_one(known: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(known)
    for kind, value in changes.items():
        _check(kind, value)
        if kind in _BINDINGS and value is not None:
            if not all(entry is None or isinstance(entry, dict) for entry in value.values()):
                raise ApiError(400, INVALID_CONFIGURATION, f"{kind} must hold objects by name.")
            entries = {**(known.get(kind) or {}), **value}
            result[kind] = {name: entry for name, entry in entries.items() if entry is not None} or None
        else:
            result[kind] = value
    return result


def _check(kind: str, value: Any) -> None:
    if kind in _BINDINGS:
        is_right = value is None or isinstance(value, dict)
    elif kind == "compatibility_flags":
        is_right = isinstance(value, list) and all(isinstance(flag, str) for flag in value)
    elif kind == "compatibility_date":
        is_right = isinstance(value, str)
    else:
        is_right = True
    if not is_right:
        raise ApiError(400, INVALID_CONFIGURATION, f"deployment_configs: {kind} is not what it should be.")


def shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are shown: without the values of secrets."""
    variables = settings.get("env_vars")
    return {**settings, "env_vars": None if variables is None else shown_variables(variables)}


def shown_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables as they are shown: without the values of secrets."""
    return {
        name: {"type": "secret_text", "value": ""} if entry.get("type") == "secret_text" else entry
        for name, entry in variables.items()
    }
