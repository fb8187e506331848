"""Feature flags: set in their file, written to KV, compared with what is live."""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clodo.errors import BadUsage, ClodoError, UndoIncomplete, VerificationFailed, WorkerNotFound
from clodo.flags.delivering import key_of, with_flags
from clodo.flags.files import SetFlag, edit_flags, file_of, parse_flags, read_flags
from clodo.flags.flags import ServiceFlags, canonical, served
from clodo.releases.desired import find_namespaces
from clodo.releases.site import Site
from clodo.workspace.documents import read_document
from clodo.workspace.editing.files import apply, undo
from clodo.workspace.targets import Target
from tasks.sites import open_site

MAX_AUDITED = 1_000
"""Letters of a value that the audit trail keeps; of a longer one it keeps the SHA-256."""


@dataclass(frozen=True, slots=True)
class FlagDifference:
    """
    A flag whose live setting is another than the file's.

    Attributes:
        here, live: As served; None when it isn't there.
    """

    target: str
    flag: str
    here: Any
    live: Any

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {"target": self.target, "flag": self.flag, "here": self.here, "live": self.live}


def set_flag(workspace: str, service: str, change: SetFlag) -> tuple[str, ...]:
    """
    Set a flag in its file and, where flags go through KV, there; all of it or nothing.

    Returns:
        The targets that have it already; empty when it comes with their next release.

    Raises:
        BadUsage: No such flag, environment or value.

        ClodoError: KV could not be written; the file is as it was.
    """
    with open_site(workspace) as site:
        site.workspace.service(service)
        file = file_of(site.workspace.root, service)
        before = parse_flags(read_document(file))
        edit = edit_flags(file, change)
        targets = targets_of(site, service, change)
        if not edit.has_changes:
            # The file may have been edited by hand, or KV may have lost it.
            return write_to_kv(site, targets) if before.delivery == "kv" else ()
        written = apply([edit])
        try:
            done = write_to_kv(site, targets) if before.delivery == "kv" else ()
            _audit(site, service, change, before, done)
        except BaseException as error:
            undo(written, cause=error)
            raise
        return done


def push_flags(site: Site, targets: Iterable[Target]) -> tuple[str, ...]:
    """Write the flags of *targets* to KV, as their files say; return the targets."""
    chosen = []
    for target in targets:
        declared = read_flags(site.workspace.root, target.service)
        if declared is None or declared.delivery != "kv":
            raise BadUsage(
                f"{target}: its flags don't go through KV", hint=f"They come with a release: `clodo deploy {target}`."
            )
        chosen.append(target)
    done = write_to_kv(site, chosen)
    for name in done:
        site.ledger.audit.append(site.actor, "flags-pushed", name, {})
    return done


def targets_of(site: Site, service: str, change: SetFlag) -> tuple[Target, ...]:
    """
    Return the targets that *change* is for.

    Raises:
        BadUsage: The portfolio has no such environment.
    """
    environments = site.workspace.portfolio.environments
    if change.environment is not None and change.environment not in environments:
        raise BadUsage(
            f"there is no environment {change.environment}", hint="There are " + ", ".join(environments) + "."
        )
    return tuple(
        target
        for target in site.workspace.targets
        if target.service == service
        and change.environment in (None, target.environment)
        and change.customer in (None, target.customer)
    )


def write_to_kv(site: Site, targets: Sequence[Target]) -> tuple[str, ...]:
    """
    Write the flags of each of *targets* to its namespace and read them back; put back what was there if one fails.

    Raises:
        UndoIncomplete: One failed, and another could not be put back.
    """
    done: list[tuple[Target, bytes | None]] = []
    try:
        for target in targets:
            done.append((target, _read_kv(site, target)))
            _write_kv(site, target, canonical(_document(site, target)).encode())
    except ClodoError as error:
        _put_back(site, done, error)
        raise
    return tuple(str(target) for target, _ in done)


def differences(site: Site, targets: Iterable[Target]) -> tuple[FlagDifference, ...]:
    """Compare the flags of *targets* with what their Workers are served now."""
    found: list[FlagDifference] = []
    for target in targets:
        declared = read_flags(site.workspace.root, target.service)
        if declared is None:
            continue
        here = _document(site, target)
        live = _live_document(site, target, declared)
        for name in sorted({*here, *live}):
            if here.get(name) != live.get(name):
                found.append(FlagDifference(str(target), name, here.get(name), live.get(name)))
    return tuple(found)


def _live_document(site: Site, target: Target, declared: ServiceFlags) -> Mapping[str, Any]:
    if declared.delivery == "kv":
        kept = _read_kv(site, target)
        try:
            found = json.loads(kept) if kept is not None else {}
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}
    cloudflare = site.account_of(target).cloudflare
    worker = site.workspace.effective(target).worker_name
    try:
        deployment = cloudflare.deployments.current(worker)
    except WorkerNotFound:
        return {}
    if deployment is None:
        return {}
    serving = max(deployment.versions, key=lambda version: version.percentage)
    version = cloudflare.versions.get(worker, serving.version_id)
    bindings = version.resources.bindings if version.resources else []
    found = next((item.get("json") for item in bindings if item.get("name") == declared.binding), None)
    return found if isinstance(found, dict) else {}


def _document(site: Site, target: Target) -> dict[str, Any]:
    declared = read_flags(site.workspace.root, target.service)
    return served(declared, target.environment, target.customer) if declared else {}


def _place(site: Site, target: Target) -> tuple[str, str]:
    """Return the id of the namespace and the key."""
    # Also refuses a namespace that is not bound.
    config = with_flags(site.workspace.root, target, site.workspace.effective(target))
    declared = read_flags(site.workspace.root, target.service)
    ids = find_namespaces(site.account_of(target).namespaces, config)
    return ids[declared.binding if declared else ""], key_of(config.worker_name)


def _read_kv(site: Site, target: Target) -> bytes | None:
    namespace, key = _place(site, target)
    return site.account_of(target).cloudflare.kv.get_value(namespace, key)


def _write_kv(site: Site, target: Target, content: bytes | None) -> None:
    namespace, key = _place(site, target)
    kv = site.account_of(target).cloudflare.kv
    if content is None:
        kv.delete_value(namespace, key)
    else:
        kv.put_value(namespace, key, content)
    if kv.get_value(namespace, key) != content:
        raise VerificationFailed(
            f"{target}: KV does not give back the flags that were written to {key}",
            hint="Somebody else writes them too; run `clodo flag diff`.",
        )


def _put_back(site: Site, done: Sequence[tuple[Target, bytes | None]], error: ClodoError) -> None:
    for target, before in reversed(done):
        try:
            _write_kv(site, target, before)
        except ClodoError as second:
            raise UndoIncomplete(
                f"{error.message}; and the flags of {target} could not be put back: {second.message}",
                hint=f"Run `clodo flag push {target}` when KV answers again.",
            ) from error


def _audit(site: Site, service: str, change: SetFlag, before: ServiceFlags, done: Sequence[str]) -> None:
    flag = before.flags[change.flag]
    was: Any = flag.default
    if change.where is not None:
        kind, name = change.where
        settings = flag.environments if kind == "environments" else flag.customers
        was = settings[name].model_dump(exclude_none=True) if name in settings else None
    detail = {
        "environment": change.environment,
        "customer": change.customer,
        "value": _short(change.value),
        "percent": change.percent,
        "before": _short(was),
        "live_at": list(done),
    }
    site.ledger.audit.append(getpass.getuser(), "flag-set", f"{service}/{change.flag}", detail)


def _short(value: Any) -> Any:
    text = json.dumps(value, sort_keys=True)
    return value if len(text) <= MAX_AUDITED else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
