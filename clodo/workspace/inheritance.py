"""
Which keys of a wrangler config an environment inherits from the top level.

Source: `normalizeAndValidateEnvironment` in wrangler 4.164.0; a test compares these lists with the installed wrangler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from clodo.workspace.documents import KeyPath, did_you_mean

INHERITED = (
    "access",
    "account_id",
    "assets",
    "base_dir",
    "build",
    "cache",
    "compatibility_date",
    "compatibility_flags",
    "compliance_region",
    "exports",
    "find_additional_modules",
    "first_party_worker",
    "jsx_factory",
    "jsx_fragment",
    "keep_names",
    "limits",
    "logfwdr",
    "logpush",
    "main",
    "migrations",
    "minify",
    "name",
    "no_bundle",
    "observability",
    "placement",
    "preserve_file_names",
    "preview_urls",
    "previews",
    "python_modules",
    "route",
    "routes",
    "rules",
    "triggers",
    "tsconfig",
    "upload_source_maps",
    "workers_dev",
)
NOT_INHERITED = (
    "agent_memory",
    "ai",
    "ai_search",
    "ai_search_namespaces",
    "analytics",
    "analytics_engine_datasets",
    "artifacts",
    "browser",
    "cloudchamber",
    "connect",
    "containers",
    "d1_databases",
    "define",
    "dispatch_namespaces",
    "durable_objects",
    "flagship",
    "hyperdrive",
    "images",
    "k2",
    "kv_namespaces",
    "media",
    "mtls_certificates",
    "pipelines",
    "queues",
    "r2_buckets",
    "ratelimits",
    "secrets",
    "secrets_store_secrets",
    "send_email",
    "services",
    "stream",
    "streaming_tail_consumers",
    "tail_consumers",
    "unsafe",
    "unsafe_hello_world",
    "vars",
    "vectorize",
    "version_metadata",
    "vpc_networks",
    "vpc_services",
    "worker_loaders",
    "workflows",
)
TOP_LEVEL_ONLY = (
    "$schema",
    "addresses",
    "alias",
    "data_blobs",
    "dependencies_instrumentation",
    "dev",
    "env",
    "keep_vars",
    "pages_build_output_dir",
    "send_metrics",
    "site",
    "text_blobs",
    "wasm_modules",
)


class Warned(NamedTuple):
    """Something wrangler warns of: the key, one sentence, and the name that `clodo config validate` gives it."""

    path: KeyPath
    what: str
    rule: str


@dataclass(frozen=True, slots=True)
class Flattened:
    """
    One environment's section with what it inherits.

    Attributes:
        values: wrangler's keys, sorted; values as written; no ``env``, no key that wrangler doesn't know.

        origins: Where each key of *values* stands in the file.

        warnings: What wrangler itself would warn of.
    """

    values: dict[str, Any]
    origins: dict[str, KeyPath]
    warnings: tuple[Warned, ...]


def flatten(data: Mapping[str, Any], section: str | None) -> Flattened:
    """
    Apply wrangler's rules of inheritance; *section* is a name under ``[env.…]`` that exists, or None.

    The Worker's name is not built here: see `clodo.workspace.wrangler_config`.
    """
    own: Mapping[str, Any] = data if section is None else data["env"][section]
    prefix: KeyPath = () if section is None else ("env", section)
    values: dict[str, Any] = {}
    origins: dict[str, KeyPath] = {}
    for key in sorted((*INHERITED, *NOT_INHERITED)):
        if _is_given(own, key):
            values[key], origins[key] = own[key], (*prefix, key)
        elif key in INHERITED and _is_given(data, key):
            values[key], origins[key] = data[key], (key,)
    for key in TOP_LEVEL_ONLY:
        if key != "env" and _is_given(data, key):
            values[key], origins[key] = data[key], (key,)
    return Flattened(values, origins, tuple(_warnings(data, own, section)))


def _is_given(section: Mapping[str, Any], key: str) -> bool:
    # wrangler drops an empty account_id and an empty route before it looks at inheritance.
    return section.get(key) is not None and not (key in ("account_id", "route") and section[key] == "")


def _warnings(data: Mapping[str, Any], own: Mapping[str, Any], section: str | None) -> list[Warned]:
    found: list[Warned] = []
    known = (*INHERITED, *NOT_INHERITED, *TOP_LEVEL_ONLY)
    found += [_unknown((key,), known) for key in data if key not in known]
    if section is None:
        return found
    prefix: KeyPath = ("env", section)
    inner = (*INHERITED, *NOT_INHERITED)
    for key in own:
        if key in TOP_LEVEL_ONLY:
            what = f'"{key}" counts at the top level only; wrangler ignores it in an environment'
            found.append(Warned((*prefix, key), what, "top-level-only"))
        elif key not in inner:
            found.append(_unknown((*prefix, key), inner))
    for key in NOT_INHERITED:
        if data.get(key) is None:
            continue
        if own.get(key) is None:
            what = f'"{key}" stands at the top level but not in env.{section}, which does not inherit it'
            found.append(Warned((key,), what, "not-inherited"))
        elif key == "vars" and isinstance(own[key], Mapping) and isinstance(data[key], Mapping):
            found += [
                Warned(
                    ("vars", name),
                    f'var "{name}" stands at the top level but not in env.{section}.vars',
                    "not-inherited",
                )
                for name in data[key]
                if name not in own[key]
            ]
    if own.get("routes") is None and isinstance(data.get("routes"), list):
        domains = [
            str(route.get("pattern"))
            for route in data["routes"]
            if isinstance(route, Mapping) and route.get("custom_domain") is True
        ]
        if domains:
            what = f"env.{section} inherits the custom domains {', '.join(domains)} and would take them over"
            found.append(Warned(("routes",), what, "inherited-domain"))
    return found


def _unknown(path: KeyPath, known: tuple[str, ...]) -> Warned:
    key = str(path[-1])
    return Warned(path, f'unknown key "{key}"; wrangler ignores it{did_you_mean(key, known)}', "unknown-key")
