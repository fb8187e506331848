"""A closer look at a Worker whose state the ledger doesn't know: is what is live what we would deploy?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clodo.migrations import databases as migrations
from clodo.releases.desired import Desired
from clodo.releases.observed import Observed, observe
from clodo.releases.release import Verified
from clodo.releases.site import Account, Site
from clodo.workspace.rendering import render_config, write_rendered

if TYPE_CHECKING:
    from clodo.cloudflare.scripts import Script
    from clodo.ledger.live import Live
    from clodo.wrangler.uploads import Upload


@dataclass(frozen=True, slots=True)
class Look:
    """
    What is live, compared with what would be uploaded.

    Attributes:
        changes: What a release would change, one phrase each; empty when it would change nothing.

        overwrites: What somebody else did that a release would undo, in words; empty when there is no such thing.

        content_sha256: Of what would be uploaded.
    """

    observed: Observed
    script: Script | None
    changes: tuple[str, ...]
    overwrites: str
    content_sha256: str

    @property
    def is_same(self) -> bool:
        """Whether a release would change nothing."""
        return not self.changes

    def as_verified(self) -> Verified:
        """Return what is live as something to remember."""
        script = self.script
        return Verified(
            version_id=self.observed.live_version or "",
            deployment_id=self.observed.deployment_id or "",
            content_sha256=self.content_sha256,
            script_etag=(script.etag or "") if script else "",
            script_modified_on=script.modified_on.isoformat() if script and script.modified_on else "",
            triggers=self.observed.triggers,
            results=(),
        )


def look_closer(site: Site, account: Account, desired: Desired, remembered: Live | None) -> Look:
    """
    Read what is live and let wrangler say what it would upload; nothing is written.

    The list of scripts is read first: whatever changes after it shows as another *modified_on* later.
    """
    cloudflare = account.cloudflare
    script = next((item for item in cloudflare.scripts.list() if item.id == desired.worker), None)
    observed = observe(cloudflare, desired.worker, desired.triggers)
    upload = compare(site, account, desired, exists=observed.exists)
    changes: list[str] = []
    code = _code_changes(account, desired, observed, upload)
    changes.extend(code)
    missing = sorted(set(desired.secrets) - set(observed.secret_names))
    if missing:
        changes.append("secrets " + ", ".join(missing))
    elif remembered is not None and remembered.secrets_fingerprint != desired.secrets_fingerprint:
        changes.append("secrets")
    changes.extend(desired.triggers.wanted_over(observed.triggers).describe())
    changes.extend(_pending(account, desired))
    if observed.is_split:
        shares = ", ".join(f"{version} {share:g} %" for version, share in observed.traffic)
        changes.append(f"traffic, now split ({shares})")
    return Look(observed, script, tuple(changes), _foreign(observed, remembered, code), upload.content_sha256)


def compare(site: Site, account: Account, desired: Desired, *, exists: bool) -> Upload:
    """Return what would be uploaded; nothing is written."""
    folder = site.workspace.rendered_dir(desired.target)
    config = render_config(
        desired.config,
        destination=folder,
        account_id=account.keys.account_id,
        database_ids={database.name: database.database_id for database in desired.databases},
        namespace_ids=desired.namespace_ids,
        workers_dev=False,
        preview_urls=desired.config.preview_urls is not False,
    )
    file = write_rendered(config, folder, service_folder=desired.config.folder)
    return account.wrangler.compare(file, worker=desired.worker, account_id=account.keys.account_id, exists=exists)


def _code_changes(account: Account, desired: Desired, observed: Observed, upload: Upload) -> list[str]:
    live = observed.live_version
    if not observed.exists or live is None:
        return ["first deployment"]
    if (observed.live_tag or "").partition(".")[2] == upload.content_sha256:
        return []
    version = account.cloudflare.versions.get(desired.worker, live)
    changes = []
    resources = version.resources
    if resources is None or not _same_code(account, desired.worker, upload):
        changes.append("code")
    theirs = {_plain(item) for item in (resources.bindings if resources else []) if not _is_secret(item)}
    ours = {_plain(item) for item in upload.bindings if not _is_secret(item)}
    names = sorted({name for name, _ in theirs ^ ours})
    if names:
        changes.append("bindings " + ", ".join(names))
    runtime = resources.script_runtime if resources else None
    if runtime is None or runtime.compatibility_date != upload.metadata.get("compatibility_date"):
        changes.append("compatibility date")
    if sorted((runtime.compatibility_flags if runtime else None) or []) != sorted(
        upload.metadata.get("compatibility_flags") or []
    ):
        changes.append("compatibility flags")
    if upload.assets:
        changes.append("static assets")  # nothing tells which files a version that we did not deploy has
    return changes


def _same_code(account: Account, worker: str, upload: Upload) -> bool:
    theirs = account.cloudflare.scripts.content(worker)
    ours = {item.name: item.content for item in upload.modules if item.content_type != "application/source-map"}
    return bool(theirs == ours)


def _is_secret(binding: Any) -> bool:
    return binding.get("type") in ("secret_text", "secret_key", "inherit")


def _plain(binding: Any) -> tuple[str, str]:
    """Name and all that matters, as text; Cloudflare's answer may carry the D1 id under two names."""
    item = dict(binding)
    if item.get("type") == "d1":
        item["id"] = item.pop("database_id", None) or item.get("id")
    name = str(item.pop("name", ""))
    return name, repr(sorted((key, repr(value)) for key, value in item.items() if value is not None))


def _foreign(observed: Observed, remembered: Live | None, code: list[str]) -> str:
    """What somebody else did that would be lost: another version than ours, when its code or bindings differ."""
    live = observed.live_version
    if live is None or not code:
        return ""
    if remembered is not None and live == remembered.version_id and not observed.is_split:
        return ""
    who = f" by {observed.author}" if observed.author else ""
    known = f", not {remembered.version_id} of release {remembered.release_id}" if remembered else ""
    return f"version {live} is live{who}{known}; other: {', '.join(code)}"


def _pending(account: Account, desired: Desired) -> list[str]:
    found: list[str] = []
    for database in desired.databases:
        binding = next(item for item in desired.config.databases if item.binding == database.binding)
        status = migrations.status(
            account.cloudflare.d1,
            database.database_id,
            binding.migrations_folder,
            pattern=binding.migrations_pattern or "*.sql",
            table=binding.migrations_table,
        )
        status.raise_if_unsafe()
        found.extend(f"migration {migration.name}" for migration in status.pending_expand)
    return found
