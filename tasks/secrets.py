"""The blocks that hold secrets: read, written under a lock, never shown."""

from __future__ import annotations

from collections.abc import Iterable

from blocks import ServiceSecrets
from clodo.ledger import fingerprints
from clodo.logs import mask_every_record, register_secret
from clodo.security.inspecting import Known
from clodo.security.twins import twins_of
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace


def kept_secrets(workspace: Workspace, target: Target) -> dict[str, str]:
    """Return the secrets kept for *target*, its environment's included; empty when nobody saved any."""
    mask_every_record()
    values = {name: value.get_secret_value() for name, value in _block_of(workspace, target).values_for(target).items()}
    for value in values.values():
        register_secret(value)
    return values


def known_secrets(workspace: Workspace, targets: Iterable[Target]) -> dict[Target, Known]:
    """Return what the security rules need to know of the secrets of *targets*, compared with those of all targets."""
    key = fingerprints.load_key(workspace.root)
    kept = {target: kept_secrets(workspace, target) for target in workspace.targets}
    marked = {
        str(target): {name: fingerprints.fingerprint_of(key, value) for name, value in values.items()}
        for target, values in kept.items()
    }
    return {target: Known(kept[target], twins_of(str(target), marked)) for target in targets}


def _block_of(workspace: Workspace, target: Target) -> ServiceSecrets:
    return load_block(workspace.portfolio.secrets_block_of(target))


def load_block(name: str) -> ServiceSecrets:
    """Load the block *name*; an empty one when nobody saved it."""
    try:
        loaded = ServiceSecrets.load(name)
    except ValueError:
        # Prefect's word for a block that isn't there.
        return ServiceSecrets()
    if not isinstance(loaded, ServiceSecrets):  # pragma: no cover - sync code gets the block itself
        raise TypeError(f"{name} was not loaded")
    return loaded
