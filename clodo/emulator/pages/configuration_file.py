"""
What a project's own configuration file says: wrangler sends it with each upload, and it goes before the dashboard's.

Source:
    https://developers.cloudflare.com/pages/functions/wrangler-configuration/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from clodo.emulator.pages.configuration import BINDING_KINDS, Objects
from clodo.emulator.workers.bindings import Binding, resolve

#: A type of bindings in uploads: the map of the settings that it stands in, and what stands there.
_SETTINGS: Mapping[str, tuple[str, Callable[[Binding], dict[str, Any]]]] = {
    "plain_text": ("env_vars", lambda binding: {"type": "plain_text", "value": binding.get("text", "")}),
    "json": ("env_vars", lambda binding: {"type": "plain_text", "value": json.dumps(binding.get("json"))}),
    "kv_namespace": ("kv_namespaces", lambda binding: {"namespace_id": binding.get("namespace_id")}),
    "d1": ("d1_databases", lambda binding: {"id": binding.get("id")}),
    "r2_bucket": (
        "r2_buckets",
        lambda binding: {"name": binding.get("bucket_name"), "jurisdiction": binding.get("jurisdiction")},
    ),
    "queue": ("queue_producers", lambda binding: {"name": binding.get("queue_name")}),
    "service": (
        "services",
        lambda binding: {
            "service": binding.get("service"),
            "environment": binding.get("environment") or "production",
            "entrypoint": binding.get("entrypoint"),
        },
    ),
    "durable_object_namespace": (
        "durable_object_namespaces",
        lambda binding: {
            "class_name": binding.get("class_name"),
            "service": binding.get("script_name"),
            "environment": binding.get("environment") or "production",
        },
    ),
    "analytics_engine": (
        "analytics_engine_datasets",
        lambda binding: {"dataset": binding.get("dataset") or binding["name"]},
    ),
    "ai": ("ai_bindings", lambda binding: {"project_id": binding.get("project_id") or ""}),
    "browser": ("browsers", lambda binding: {}),
    "hyperdrive": ("hyperdrive_bindings", lambda binding: {"id": binding.get("id")}),
    "mtls_certificate": ("mtls_certificates", lambda binding: {"certificate_id": binding.get("certificate_id")}),
    "vectorize": ("vectorize_bindings", lambda binding: {"index_name": binding.get("index_name")}),
}


def settings_of_file(known: Mapping[str, Any], metadata: Mapping[str, Any], objects: Objects) -> dict[str, Any]:
    """
    Return an environment's settings as the file has them; of those known before, secrets are kept.

    Args:
        metadata: Of the uploaded script; holds the file's bindings.
    """
    settings = {name: value for name, value in known.items() if name not in BINDING_KINDS}
    variables = known.get("env_vars") or {}
    secrets = {name: entry for name, entry in variables.items() if entry.get("type") == "secret_text"}
    for binding in bindings_of_file(metadata):
        if binding["type"] in _SETTINGS:
            kind, describe = _SETTINGS[binding["type"]]
            entry = {key: value for key, value in describe(binding).items() if value is not None}
            if kind == "durable_object_namespaces":
                owner = entry.get("service"), entry.get("class_name")
                entry["namespace_id"] = next((key for key, value in objects.items() if value == owner), "")
            settings.setdefault(kind, {})[binding["name"]] = entry
    settings["env_vars"] = {**settings.get("env_vars", {}), **secrets} or None
    for name in ("compatibility_date", "compatibility_flags", "placement", "limits"):
        if metadata.get(name) is not None:
            settings[name] = metadata[name]
    return settings


def bindings_of_file(metadata: Mapping[str, Any]) -> list[Binding]:
    """
    Return the file's bindings.

    Raises:
        ApiError: One has no name, an impossible one or one twice.
    """
    given = metadata.get("bindings")
    return resolve(
        given if isinstance(given, list) else (), keep=(), newest=None, of_version=lambda _: None, strict=True
    )
