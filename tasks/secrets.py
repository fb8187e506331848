"""The secrets in the blocks: read, changed one process at a time; never shown, never a parameter."""

from __future__ import annotations

import getpass
import hmac
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prefect.types import SecretDict

from blocks import ServiceSecrets
from clodo.errors import BadConfiguration, BadUsage, Failed, WorkerNotFound
from clodo.ledger import Ledger, default_path, fingerprints
from clodo.ledger.owners import Owner
from clodo.logs import mask_every_record, register_secret
from clodo.releases.site import Site
from clodo.secrets.aging import Aged, aged
from clodo.secrets.comparing import Compared, compare
from clodo.secrets.generating import SecretKind, generate
from clodo.security.inspecting import Known
from clodo.security.twins import twins_of
from clodo.settings import Settings
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace

# --- what is kept -----------------------------------------------------------------------------------------------------


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


def kept_secrets(workspace: Workspace, target: Target) -> dict[str, str]:
    """Return the secrets kept for *target*, its environment's included; empty when nobody saved any."""
    mask_every_record()
    block = load_block(workspace.portfolio.secrets_block_of(target))
    values = {name: value.get_secret_value() for name, value in block.values_for(target).items()}
    for value in values.values():
        register_secret(value)
    return values


class BlockKeeper:
    """
    Keeps the secrets of one target in its block; one process changes a block at a time.

    Args:
        key: For fingerprints.
    """

    def __init__(self, workspace: Workspace, target: Target, ledger: Ledger, key: bytes) -> None:
        self._workspace = workspace
        self._target = target
        self._ledger = ledger
        self._key = key
        self._block = workspace.portfolio.secrets_block_of(target)

    def read(self) -> dict[str, str]:
        """Return names and values."""
        return kept_secrets(self._workspace, self._target)

    def change(self, values: Mapping[str, str], *, kind: str = "") -> None:
        """
        Keep *values* in place of those of the same names, and note their age and fingerprints.

        Raises:
            Failed: They can't be read again as they were saved.

            LockHeld: Another process changes the block.
        """
        mask_every_record()
        for value in values.values():
            register_secret(value)
        target = str(self._target)
        what = f"keep secrets of {target}"
        with self._ledger.locks.acquire(f"block/{self._block}", Owner.current(what), what) as lock:
            kept: dict[str, dict[str, str]] = load_block(self._block).targets.get_secret_value()
            changed = {**kept, target: {**kept.get(target, {}), **values}}
            lock.check()
            ServiceSecrets(targets=SecretDict(changed)).save(self._block, overwrite=True)
            now = self.read()
        for name, value in values.items():
            if not hmac.compare_digest(now.get(name, "").encode(), value.encode()):
                raise Failed(f"{target}: {name} can't be read again from the block {self._block} as it was saved")
        marks = {name: fingerprints.fingerprint_of(self._key, value) for name, value in values.items()}
        self._ledger.secrets.note_kept(target, marks, kind=kind)
        actor = getpass.getuser()
        self._ledger.audit.append(actor, "secrets-kept", target, {"names": sorted(values), "block": self._block})


@contextmanager
def opened(workspace: str) -> Iterator[tuple[Workspace, Ledger, bytes]]:
    """Open a workspace with its ledger and its key for fingerprints, without an account."""
    mask_every_record()
    loaded = Workspace.load(Path(workspace).expanduser())
    place = Settings.from_environment().ledger_url or default_path(loaded.root)
    with Ledger.open(place) as ledger:
        yield loaded, ledger, fingerprints.load_key(loaded.root)


def needed_names(workspace: Workspace, target: Target) -> frozenset[str]:
    """Return the names of all secrets that *target* is released with, as the workspace declares them."""
    settings = workspace.portfolio.settings_of(target.service)
    seconds = {rotation.previous for rotation in settings.rotation.values() if rotation.previous}
    return frozenset({*settings.secrets, *workspace.effective(target).required_secrets, *settings.rotation, *seconds})


def raise_unless_declared(workspace: Workspace, target: Target, names: Iterable[str]) -> None:
    """
    Refuse names that no release would bring to the Worker.

    Raises:
        BadConfiguration: The portfolio and the wrangler config don't name them.
    """
    unknown = sorted(set(names) - needed_names(workspace, target))
    if unknown:
        raise BadConfiguration(
            f"{target}: {', '.join(unknown)} is not among the secrets that {target.service} declares",
            hint=f"Add it to `secrets` under [services.{target.service}] in portfolio.toml.",
        )


def generate_into_block(
    workspace: str, target: str, name: str, *, kind: SecretKind | None, prefix: str, replace: bool
) -> str:
    """
    Make a secret and keep it; return the kind it was made as: *kind*, else as declared, else as before, else ``api``.

    Where a rotation declares a second name, that one gets the same value, unless it has one.

    Raises:
        BadUsage: It is kept already, and *replace* is not said.

        BadConfiguration: The service doesn't declare it.
    """
    with opened(workspace) as (loaded, ledger, key):
        found = loaded.find(target)
        raise_unless_declared(loaded, found, [name])
        declared = loaded.portfolio.settings_of(found.service).rotation.get(name)
        before = next((record.kind for record in ledger.secrets.all(str(found)) if record.name == name), "")
        chosen = kind or SecretKind((declared and declared.kind) or before or SecretKind.API)
        if not prefix and declared and chosen is SecretKind.API:
            prefix = declared.prefix
        keeper = BlockKeeper(loaded, found, ledger, key)
        kept = keeper.read()
        if name in kept and not replace:
            raise BadUsage(
                f"{found}: {name} is kept already",
                hint="`clodo secrets rotate` replaces it without refusing anybody; --replace does at once.",
            )
        value = generate(chosen, prefix=prefix)
        values = {name: value}
        if declared and declared.previous and declared.previous not in kept:
            values[declared.previous] = value
        keeper.change(values, kind=chosen)
        return chosen.value


def import_into_block(workspace: str, target: str, values: Mapping[str, str], *, replace: bool) -> tuple[str, ...]:
    """
    Keep secrets that somebody brought; return the names of those that were new or other than before.

    Raises:
        BadUsage: Some are kept with other values, and *replace* is not said.

        BadConfiguration: The service doesn't declare them.
    """
    with opened(workspace) as (loaded, ledger, key):
        found = loaded.find(target)
        raise_unless_declared(loaded, found, values)
        keeper = BlockKeeper(loaded, found, ledger, key)
        kept = keeper.read()
        changed = {
            name: value
            for name, value in values.items()
            if not hmac.compare_digest(kept.get(name, "").encode(), value.encode())
        }
        taken = sorted(changed.keys() & kept.keys())
        if taken and not replace:
            raise BadUsage(
                f"{found}: {', '.join(taken)} is kept with another value", hint="Say --replace to take the new one."
            )
        if changed:
            keeper.change(changed)
        return tuple(sorted(changed))


# --- what is known ----------------------------------------------------------------------------------------------------


def known_secrets(workspace: Workspace, targets: Iterable[Target]) -> dict[Target, Known]:
    """Return what the security rules need to know of the secrets of *targets*, compared with those of all targets."""
    key = fingerprints.load_key(workspace.root)
    kept = {target: kept_secrets(workspace, target) for target in workspace.targets}
    marked = {str(target): _marked(key, values) for target, values in kept.items()}
    return {target: Known(kept[target], twins_of(str(target), marked)) for target in targets}


def ages(workspace: Workspace, ledger: Ledger, targets: Iterable[Target]) -> tuple[tuple[Aged, bool], ...]:
    """Return each secret of *targets* with its age, and whether it is kept; what is seen first is noted."""
    key = fingerprints.load_key(workspace.root)
    found: list[tuple[Aged, bool]] = []
    for target in targets:
        kept = kept_secrets(workspace, target)
        ledger.secrets.note_kept(str(target), _marked(key, kept))
        records = {record.name: record for record in ledger.secrets.all(str(target))}
        rotations = {item.name: item for item in ledger.secrets.rotations(target=str(target), only_open=True)}
        declared = workspace.portfolio.settings_of(target.service).rotation
        for name in sorted({*needed_names(workspace, target), *kept}):
            record = records.get(name) if name in kept else None
            age = aged(str(target), name, record, declared.get(name), rotations.get(name))
            found.append((age, name in kept))
    return tuple(found)


def differences(site: Site, targets: Iterable[Target]) -> dict[Target, tuple[Compared, ...]]:
    """
    Compare what is kept for *targets* with what their Workers have.

    Raises:
        ClodoError: An account can't be asked.
    """
    workspace = site.workspace
    kept = {target: kept_secrets(workspace, target) for target in site.workspace.targets}
    marked = {target: _marked(site.fingerprint_key, values) for target, values in kept.items()}
    by_name = {str(target): marks for target, marks in marked.items()}
    found: dict[Target, tuple[Compared, ...]] = {}
    for target in targets:
        worker = workspace.effective(target).worker_name
        try:
            on_worker = [item.name for item in site.account_of(target).cloudflare.secrets.list(worker)]
        except WorkerNotFound:
            on_worker = []
        brought = {record.name: record.live_fingerprint for record in site.ledger.secrets.all(str(target))}
        live = site.ledger.live.get(str(target))
        # A release that another process finished noted them all together.
        if live and live.secrets_fingerprint == fingerprints.fingerprint(site.fingerprint_key, kept[target]):
            brought = marked[target]
        found[target] = compare(
            needed=needed_names(workspace, target),
            kept=marked[target],
            on_worker=on_worker,
            brought=brought,
            twins=twins_of(str(target), by_name),
        )
    return found


def _marked(key: bytes, values: Mapping[str, str]) -> dict[str, str]:
    return {name: fingerprints.fingerprint_of(key, value) for name, value in values.items()}
