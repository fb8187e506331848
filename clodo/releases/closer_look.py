"""A closer look at a Worker whose state the ledger doesn't know: is what is live what we would deploy?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clodo.migrations import databases as migrations
from clodo.releases.bundles import is_same_code
from clodo.releases.desired import Desired
from clodo.releases.observed import Observed, observe
from clodo.releases.release import Verified
from clodo.releases.site import Account, Site
from clodo.releases.triggers import Triggers
from clodo.workspace.rendering import render_config, write_rendered

if TYPE_CHECKING:
    from clodo.cloudflare.scripts import Script
    from clodo.cloudflare.versions import Version
    from clodo.ledger.live import Live
    from clodo.wrangler.uploads import Upload


MANY_VERSIONS = 100


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


def look_closer(site: Site, account: Account, desired: Desired, remembered: Live | None, script: Script | None) -> Look:
    """
    Read what is live and let wrangler say what it would upload; nothing is written.

    Args:
        script: As the account's list had it before this look: whatever changes after that shows as another
            *modified_on* later. One list is enough for all targets of a survey.
    """
    cloudflare = account.cloudflare
    observed = observe(cloudflare, desired.worker, desired.triggers)
    upload = compare(site, account, desired, exists=observed.exists)
    since = _versions_since(account, desired, observed, remembered)
    code = _code_changes(site, account, desired, observed, upload, since)
    secrets = _secret_changes(desired, observed, remembered, since)
    changes = [*code, *secrets]
    changes.extend(desired.triggers.wanted_over(observed.triggers).describe())
    changes.extend(_pending(account, desired))
    if observed.is_split:
        shares = ", ".join(f"{version} {share:g} %" for version, share in observed.traffic)
        changes.append(f"traffic, now split ({shares})")
    is_other = remembered is not None and observed.live_version != remembered.version_id
    lost = [*code, *(secrets if is_other and any(_is_secret_edit(version) for version in since) else ())]
    overwrites = (_foreign(observed, remembered, lost), foreign_triggers(desired, remembered, observed))
    return Look(observed, script, tuple(changes), "; ".join(part for part in overwrites if part), upload.content_sha256)


def foreign_triggers(desired: Desired, remembered: Live | None, observed: Observed) -> str:
    """Say which triggers somebody else set that a release of *desired* would overwrite; empty when there are none."""
    if remembered is None or not remembered.triggers:
        return ""
    others = desired.triggers.set_elsewhere(Triggers.from_json(remembered.triggers), observed.triggers)
    return "; ".join(others.describe())


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


def _versions_since(
    account: Account, desired: Desired, observed: Observed, remembered: Live | None
) -> tuple[Version, ...]:
    """Return the versions that came after the one that is remembered as live, the newest first."""
    if not observed.exists:
        return ()
    newest = account.cloudflare.versions.list(desired.worker, limit=MANY_VERSIONS)
    known = remembered.version_id if remembered is not None else None
    return tuple(itertools.takewhile(lambda version: version.id != known, newest))


def _is_secret_edit(version: Version) -> bool:
    return version.annotations is not None and version.annotations.triggered_by == "secret"


def _secret_changes(
    desired: Desired, observed: Observed, remembered: Live | None, since: Sequence[Version]
) -> list[str]:
    """
    Say whether a release would change secrets; their values can't be read, so in doubt it would.

    Only a Worker that we never deployed is taken at its word: it has the names, and is adopted as it is.
    """
    missing = sorted(set(desired.secrets) - set(observed.secret_names))
    if missing:
        return ["secrets " + ", ".join(missing)]
    if remembered is None or not desired.secrets:
        return []
    if observed.live_version != remembered.version_id:
        edited = any(_is_secret_edit(version) for version in since)
        return ["secrets, edited elsewhere" if edited else "secrets, which may be others in that version"]
    return ["secrets"] if remembered.secrets_fingerprint != desired.secrets_fingerprint else []


def _code_changes(
    site: Site, account: Account, desired: Desired, observed: Observed, upload: Upload, since: Sequence[Version]
) -> list[str]:
    live = observed.live_version
    if not observed.exists or live is None:
        return ["first deployment"]
    if (observed.live_tag or "").partition(".")[2] == upload.content_sha256:
        return []
    version = account.cloudflare.versions.get(desired.worker, live)
    changes = []
    resources = version.resources
    # The account gives the code of one version only; whether that is the live one is sure when there is no newer one.
    is_newest = not since or since[0].id == live
    if resources is None or not is_newest or not _is_same_code(site, account, desired, upload):
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


def _is_same_code(site: Site, account: Account, desired: Desired, upload: Upload) -> bool:
    return is_same_code(
        account.cloudflare.scripts.content(desired.worker),
        upload.modules,
        ours_from=site.workspace.rendered_dir(desired.target),
        theirs_from=desired.config.folder,
    )


def _is_secret(binding: Any) -> bool:
    return binding.get("type") in ("secret_text", "secret_key", "inherit")


def _plain(binding: Any) -> tuple[str, str]:
    """Name and all that matters, as text; Cloudflare's answer may carry the D1 id under two names."""
    item = dict(binding)
    if item.get("type") == "d1":
        item["id"] = item.pop("database_id", None) or item.get("id")
    name = str(item.pop("name", ""))
    return name, repr(sorted((key, repr(value)) for key, value in item.items() if value is not None))


def _foreign(observed: Observed, remembered: Live | None, lost: Sequence[str]) -> str:
    """What somebody else did that would be lost: another version than ours that differs in something."""
    live = observed.live_version
    if live is None or not lost:
        return ""
    if remembered is not None and live == remembered.version_id and not observed.is_split:
        return ""
    who = f" by {observed.author}" if observed.author else ""
    known = f", not {remembered.version_id} of release {remembered.release_id}" if remembered else ""
    return f"version {live} is live{who}{known}; other: {', '.join(lost)}"


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
        migrations.examine(status)
        found.extend(f"migration {migration.name}" for migration in status.pending_expand)
    return found
