"""A target's configuration as a release keeps it, as the account has it, and compared with what is live."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clodo.errors import ReleaseNotFound, WorkerNotFound
from clodo.ledger import fingerprints
from clodo.releases.desired import find_databases, find_namespaces, triggers_of
from clodo.releases.observed import observe
from clodo.releases.triggers import Triggers
from clodo.workspace.differences import content_of, values_of_content
from clodo.workspace.effective_values import Value, by_path, effective_values, looks_secret

if TYPE_CHECKING:
    from clodo.cloudflare.versions import Version
    from clodo.ledger import Ledger
    from clodo.releases.site import Site
    from clodo.workspace.targets import Target

# What Cloudflare tells of a version, and what of it a config says.
_COMPARED = re.compile(
    r"(?:compatibility_(?:date|flags)|workers_dev|preview_urls|triggers\.crons|vars\..+|routes\..+\.(?:pattern|zone_id)"
    r"|d1_databases\.[^.]+\.database_id|kv_namespaces\.[^.]+\.id|r2_buckets\.[^.]+\.bucket_name"
    r"|queues\.producers\.[^.]+\.queue|services\.[^.]+\.service|secrets\..+)"
)
# Cloudflare's kind of binding: where a config has it, and which field holds its value.
_BINDINGS = {
    "d1": ("d1_databases.{name}.database_id", ("database_id", "id")),
    "kv_namespace": ("kv_namespaces.{name}.id", ("namespace_id",)),
    "r2_bucket": ("r2_buckets.{name}.bucket_name", ("bucket_name",)),
    "queue": ("queues.producers.{name}.queue", ("queue_name",)),
    "service": ("services.{name}.service", ("service",)),
    "plain_text": ("vars.{name}", ("text",)),
    "json": ("vars.{name}", ("json",)),
}


def fingerprinter(key: bytes) -> Callable[[str], str]:
    """Return what turns a secret value into its keyed fingerprint."""
    return lambda value: fingerprints.fingerprint_of(key, value)


def remember_configuration(site: Site, release_id: str, target: Target) -> None:
    """Write down what *target* is configured to be, for whoever asks later what a release used; no secret is kept."""
    values = effective_values(site.workspace, target)
    site.ledger.configurations.record(release_id, content_of(values, fingerprinter(site.fingerprint_key)))


def configuration_of_release(ledger: Ledger, beginning: str) -> tuple[str, tuple[Value, ...]]:
    """
    Return the target of a release, and what it was configured to be.

    Raises:
        ReleaseNotFound: No release begins so, or what it used was not written down.
    """
    release = ledger.releases.find(beginning)
    content = ledger.configurations.get(release.id)
    if content is None:
        raise ReleaseNotFound(
            f"release {release.id}: what it was configured to be was not written down",
            hint="Only releases that upload something are; `clodo config history` shows which.",
        )
    return release.target, values_of_content(content, f"release {release.id}")


def wanted_values(site: Site, target: Target) -> tuple[Value, ...]:
    """Return what *target* should be, with ids looked up, as far as Cloudflare can tell whether it is."""
    account = site.account_of(target)
    config = site.workspace.effective(target)
    values = [value for value in effective_values(site.workspace, target) if _COMPARED.fullmatch(value.path)]
    looked_up = ("routes.", "secrets.", "triggers.", "workers_dev", "preview_urls")
    values = [value for value in values if not value.path.startswith(looked_up)]
    for database in find_databases(account.databases, config):
        place = next(item.place for item in config.databases if item.binding == database.binding)
        values.append(Value(f"d1_databases.{database.binding}.database_id", database.database_id, place))
    for binding, namespace_id in find_namespaces(account.namespaces, config).items():
        place = next(item.place for item in config.namespaces if item.binding == binding)
        values.append(Value(f"kv_namespaces.{binding}.id", namespace_id, place))
    triggers = triggers_of(config, account.zones if config.routes else ())
    places = {route.pattern: route.place for route in config.routes}
    values += _triggers(triggers, lambda path: places.get(path, str(config.document.place_of(()))))
    names = {*config.required_secrets, *site.workspace.portfolio.settings_of(target.service).secrets}
    values += [Value(f"secrets.{name}", "set", "portfolio.toml") for name in sorted(names)]
    return by_path(values)


def live_values(site: Site, target: Target) -> tuple[Value, ...]:
    """
    Return what Cloudflare says that *target*'s Worker is, under the paths of a config.

    Raises:
        WorkerNotFound: Nothing is deployed there.
    """
    account = site.account_of(target)
    config = site.workspace.effective(target)
    wanted = triggers_of(config, account.zones if config.routes else ())
    observed = observe(account.cloudflare, config.worker_name, wanted)
    version_id = observed.live_version
    if version_id is None:
        raise WorkerNotFound(f"{target}: nothing is deployed to the Worker {config.worker_name}")
    version = account.cloudflare.versions.get(config.worker_name, version_id)
    place = f"live version {version_id}"
    triggers = observed.triggers
    if wanted.previews is None:
        # The config leaves preview URLs to whoever set them; workers.dev it always decides.
        triggers = replace(triggers, previews=None)
    return by_path([*_version(version, place), *_triggers(triggers, lambda _: "live")])


def _version(version: Version, place: str) -> Iterator[Value]:
    resources = version.resources
    if resources is None:
        return
    if resources.script_runtime is not None:
        runtime = resources.script_runtime
        if runtime.compatibility_date:
            yield Value("compatibility_date", runtime.compatibility_date, place)
        if runtime.compatibility_flags:
            yield Value("compatibility_flags", list(runtime.compatibility_flags), place)
    for binding in resources.bindings:
        name, kind = str(binding.get("name")), str(binding.get("type"))
        if kind in ("secret_text", "secret_key"):
            yield Value(f"secrets.{name}", "set", place)
        elif kind in _BINDINGS:
            yield from _binding(name, binding, *_BINDINGS[kind], place)


def _binding(
    name: str, binding: Mapping[str, Any], pattern: str, fields: tuple[str, ...], place: str
) -> Iterator[Value]:
    value = next((binding[field] for field in fields if binding.get(field) is not None), None)
    path = pattern.format(name=name)
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield Value(f"{path}.{key}", item, place, looks_secret(str(key), item))
    elif value is not None:
        yield Value(path, value, place, path.startswith("vars.") and looks_secret(name, value))


def _triggers(triggers: Triggers, place: Callable[[str], str]) -> Iterator[Value]:
    for route in triggers.routes or ():
        yield Value(f"routes.{route.pattern}.pattern", route.pattern, place(route.pattern))
        yield Value(f"routes.{route.pattern}.zone_id", route.zone_id, place(route.pattern))
    for domain in triggers.domains or ():
        yield Value(f"routes.{domain.hostname}.pattern", domain.hostname, place(domain.hostname))
        yield Value(f"routes.{domain.hostname}.zone_id", domain.zone_id, place(domain.hostname))
    if triggers.schedules is not None:
        yield Value("triggers.crons", sorted(triggers.schedules), place("triggers.crons"))
    if triggers.workers_dev is not None:
        yield Value("workers_dev", triggers.workers_dev, place("workers_dev"))
    if triggers.previews is not None:
        yield Value("preview_urls", triggers.previews, place("preview_urls"))
