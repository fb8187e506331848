"""From a target's name to all that a release of it needs, every name looked up exactly."""

from __future__ import annotations

import hashlib
import json

from clodo.errors import BadConfiguration
from clodo.flags.delivering import with_flags
from clodo.ledger import fingerprints
from clodo.migrations import digest
from clodo.releases.addresses import Address, addresses_of
from clodo.releases.desired import Desired, find_databases, find_namespaces, triggers_of
from clodo.releases.site import Site
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.hashing import input_hash
from clodo.workspace.targets import Target


def resolve(site: Site, target: Target) -> Desired:
    """
    Return what *target* should become.

    Costs no request when the config gives all ids; names are looked up once an account.

    Raises:
        BadConfiguration: The config is broken, or a secret that the service needs is not in its block.

        DatabaseNotFound, NamespaceNotFound: The account lacks what the config names.
    """
    config = with_flags(site.workspace.root, target, site.workspace.effective(target))
    settings = site.workspace.portfolio.settings_of(target.service)
    account = site.account_of(target)
    if config.account_id is not None and config.account_id != account.keys.account_id:
        raise BadConfiguration(
            f"{config.place_of('account_id')}: account_id is {config.account_id}, but the block"
            f' "{site.workspace.portfolio.account_block_of(target)}" is for {account.keys.account_id}',
            hint="Take account_id out of the wrangler config, or name another account in portfolio.toml.",
        )
    build_commands = site.prepare(target)
    secrets = dict(site.secrets_of(target))
    wanted = {*settings.secrets, *config.required_secrets}
    missing = sorted(wanted - secrets.keys())
    if missing:
        raise BadConfiguration(
            f"{target}: the block {site.workspace.portfolio.secrets_block_of(target)} has no secret"
            f" {', '.join(missing)} for this target",
            hint="Save them in the Prefect UI under Blocks, or take them out of portfolio.toml.",
        )
    databases = find_databases(account.databases, config)
    namespace_ids = find_namespaces(account.namespaces, config)
    triggers = triggers_of(config, account.zones if config.routes else ())
    migrations_digest = digest_of_migrations(config)
    secrets_fingerprint = fingerprints.fingerprint(site.fingerprint_key, secrets)
    hashed = input_hash(
        config,
        root=site.workspace.root,
        digests=site.digests,
        secrets_fingerprint=secrets_fingerprint,
        toolchain_fingerprint=site.toolchain.fingerprint,
        build_commands=build_commands,
        extra={
            "account": account.keys.account_id,
            "databases": _digest({database.binding: database.database_id for database in databases}),
            "migrations": migrations_digest,
            "namespaces": _digest(namespace_ids),
        },
    )
    return Desired(
        target=target,
        config=config,
        settings=settings,
        triggers=triggers,
        databases=databases,
        namespace_ids=namespace_ids,
        secrets=secrets,
        secrets_fingerprint=secrets_fingerprint,
        input_hash=hashed.digest,
        is_certain=hashed.is_certain,
        migrations_digest=migrations_digest,
        through=_addresses_through(site, target, settings.smoke_tests_through),
    )


def addresses_as_configured(site: Site, target: Target) -> tuple[Address, ...]:
    """Return where *target*'s Worker answers once it is released as it is configured."""
    account, config = site.account_of(target), site.workspace.effective(target)
    wanted = triggers_of(config, account.zones if config.routes else ())
    return addresses_of(wanted, config.worker_name, account.subdomain)


def _addresses_through(site: Site, target: Target, service: str | None) -> tuple[Address, ...]:
    """Return the addresses of *service*'s target for the same environment and customer, or for all of them."""
    if service is None:
        return ()
    wanted = [Target(service, target.environment, customer) for customer in (target.customer, None)]
    found = next((other for other in wanted if other in site.workspace.targets), None)
    addresses = addresses_as_configured(site, found) if found is not None else ()
    if not addresses:
        place = site.workspace.portfolio.place_of("services", target.service, "smoke_tests_through")
        why = "it has no address" if found is not None else f"it is not in {target.environment}"
        raise BadConfiguration(
            f"{place}: no smoke test of {target} can go through {service}: {why}",
            hint=f"Give {service} a route, a domain or workers_dev = true there, or name another service.",
        )
    return addresses


def digest_of_migrations(config: EffectiveConfig) -> str:
    """Return one SHA-256 over the migrations of all databases of *config*."""
    return _digest(
        {
            binding.binding: digest(binding.migrations_folder, binding.migrations_pattern or "*.sql")
            for binding in config.databases
        }
    )


def _digest(values: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
