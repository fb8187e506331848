"""From an upload to a version, from a version to a deployment: everything that changes what runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from clodo.emulator.blobs import Blobs
from clodo.emulator.clock import new_uuid, now
from clodo.emulator.database import Database
from clodo.emulator.envelope import ApiError
from clodo.emulator.runtime.ports import ScriptInvalid, Traffic, Validated, VersionSpec, WorkerdUnavailable
from clodo.emulator.runtime.runtime import Runtime
from clodo.emulator.workers.annotations import annotations_from
from clodo.emulator.workers.assets import AssetSessions
from clodo.emulator.workers.bindings import (
    SECRET_TYPES,
    Binding,
    Catalogue,
    changed_secrets,
    raise_if_invalid,
    resolve,
    with_values,
)
from clodo.emulator.workers.consumers import raise_if_handler_missing
from clodo.emulator.workers.directory import WorkerDirectory
from clodo.emulator.workers.exports import classes_from_exports
from clodo.emulator.workers.limits import MAX_VERSIONS_IN_DEPLOYMENT
from clodo.emulator.workers.objects import ObjectClass, Transfer, migrated, raise_if_tag_differs, transfers_in
from clodo.emulator.workers.script_settings import settings_in
from clodo.emulator.workers.store import Content, Deployment, Script, Scripts, Version
from clodo.emulator.workers.upload import INVALID_SCRIPT, Upload

SCRIPT_NOT_FOUND = 10007
VERSION_NOT_FOUND = 10008
INTERNAL = 10013
INVALID_NAME = 10016
SECRET_NOT_FOUND = 10056
CLASS_NOT_EXPORTED = 10070
CLASS_LOST = 10064
HAS_MIGRATION = 10211
SETTINGS_NOT_DEPLOYED = 10214
VERSION_NOT_DEPLOYED = 10215
SECRETS_CHANGED = 10220
NO_VERSIONS = 10222
INVALID_DEPLOYMENT = 10021

#: Recorded: the message of a deployment that an upload made.
AUTOMATIC = "Automatic deployment on upload."

_SCRIPT_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,254}$")

#: Metadata that is stored with the version and shown again.
_EXTRA = ("limits", "placement", "usage_model", "cache_options", "package_dependencies", "exports", "containers")


@dataclass(frozen=True, slots=True)
class Author:
    """
    Who changes something, and with what.

    Attributes:
        identity: ``{id, email}``.

        source: ``wrangler``, ``terraform``, ``api``, …: read from the ``User-Agent``.
    """

    identity: dict[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """A version that was tried and is not stored yet."""

    version_id: str
    created_on: str
    content: Content
    validated: Validated


def not_found(name: str) -> ApiError:
    """Return the answer for a Worker that isn't there: it sends wrangler down the road of first deploys."""
    return ApiError(404, SCRIPT_NOT_FOUND, "This Worker does not exist on your account.")


class Publisher:
    """
    Changes what runs, one change of a Worker at a time.

    Args:
        catalogue: Returns what an account has, to check bindings against.
    """

    def __init__(
        self,
        database: Database,
        scripts: Scripts,
        blobs: Blobs,
        directory: WorkerDirectory,
        runtime: Runtime,
        sessions: AssetSessions,
        catalogue: Callable[[str], Catalogue],
    ) -> None:
        self._database = database
        self._scripts = scripts
        self._blobs = blobs
        self._directory = directory
        self._runtime = runtime
        self._sessions = sessions
        self._catalogue = catalogue
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    def existing(self, account_id: str, name: str) -> Script:
        """
        Return a Worker.

        Raises:
            ApiError: 10007, there is none.
        """
        script = self._scripts.get(account_id, name)
        if script is None:
            raise not_found(name)
        return script

    def raise_if_name_invalid(self, name: object) -> None:
        """
        Refuse what can't be a Worker's name.

        Raises:
            ApiError: 10016.
        """
        if not isinstance(name, str) or not _SCRIPT_NAME.match(name):
            raise ApiError(
                400,
                INVALID_NAME,
                "Invalid Worker name. Use letters, digits, underscores and dashes only, at most 255 of them.",
            )

    async def put_script(
        self, account_id: str, name: str, upload: Upload, author: Author, *, strict: bool
    ) -> tuple[Script, Version]:
        """Upload and deploy in one call; makes the Worker if it isn't there. Applies migrations."""
        self.raise_if_name_invalid(name)
        settings = settings_in(upload.metadata)
        migrations = upload.metadata.get("migrations") or {}
        transfers = transfers_in(migrations)
        async with AsyncExitStack() as stack:
            # In one order, so that two Workers that take classes from each other don't wait for each other.
            for locked in sorted({name, *(transfer.from_script for transfer in transfers)}):
                await stack.enter_async_context(self._locks[account_id, locked])
            known = self._scripts.get(account_id, name)
            # A Worker that isn't there yet is made with its first version or not at all.
            script = known or Script("", account_id, name, "", "", author.source, {}, None, False, False)
            before = self._scripts.object_classes(known) if known else []
            if migrations:
                raise_if_tag_differs(migrations, script.migration_tag)
            classes = migrated(before, migrations, lambda other: self._object_classes(account_id, other))
            classes = classes_from_exports(classes, upload.metadata.get("exports") or {})
            content = self._content(script if known else None, script, upload, strict=strict, classes=classes)
            annotations = annotations_from(upload.metadata.get("annotations"), triggered_by="upload")
            draft = await self._tried(
                script, await self._with_modules(content, upload), classes, annotations, before=before
            )
            if known is not None and self._scripts.is_consumer(known):
                raise_if_handler_missing(draft.content)
            await self._started(self._spec(script, draft, classes, annotations))
            keep = partial(self._keep, known, script, upload, settings, author, draft, annotations, classes)
            if transfers:
                version = await self._transferred(account_id, name, transfers, keep)
            else:
                version = keep()
            script = self.existing(account_id, name)
            await self._went_live(script)
            for other in {transfer.from_script for transfer in transfers}:
                await self._runtime.deployed(account_id, other)
            return script, version

    def _keep(
        self,
        known: Script | None,
        script: Script,
        upload: Upload,
        settings: dict[str, Any],
        author: Author,
        draft: _Draft,
        annotations: Mapping[str, str],
        classes: Sequence[ObjectClass],
    ) -> Version:
        """Store an upload as the version that is live from now on."""
        account_id, name, metadata = script.account_id, script.name, upload.metadata
        with self._database.transaction():
            if known is None:
                script = self._scripts.create(account_id, name, source=author.source)
            version = self._store(script, draft, author, annotations, classes)
            tag = (metadata.get("migrations") or {}).get("new_tag") or script.migration_tag
            self._scripts.set_object_classes(script, classes, tag)
            if settings:
                script = self._scripts.set_settings(script, settings)
            self._scripts.add_deployment(
                script,
                ((version.id, 100.0),),
                author=author.identity,
                source=author.source,
                annotations={
                    "workers/message": AUTOMATIC,
                    "workers/triggered_by": "upload",
                    **_message(annotations),
                },
            )
        return version

    async def _transferred(
        self, account_id: str, name: str, transfers: Sequence[Transfer], keep: Callable[[], Version]
    ) -> Version:
        """Store an upload that takes Durable Object classes from other Workers, with all that their objects keep."""
        given = [
            (self.existing(account_id, transfer.from_script), known)
            for transfer in transfers
            for known in self._object_classes(account_id, transfer.from_script)
            if known.name == transfer.from_class
        ]
        kept: list[Version] = []

        def change() -> None:
            with self._database.transaction():
                for source, known in given:
                    self._scripts.give_away(source, known)
                kept.append(keep())
            self._directory.forget_specs(account_id)
            for script in {name, *(source.name for source, _ in given)}:
                self._directory.refresh(account_id, script)

        await self._runtime.move_objects(account_id, name, {known.id: source.name for source, known in given}, change)
        return kept[0]

    def _object_classes(self, account_id: str, name: str) -> list[ObjectClass]:
        script = self._scripts.get(account_id, name)
        return [] if script is None else self._scripts.object_classes(script)

    async def upload_version(
        self, account_id: str, name: str, upload: Upload, author: Author, *, strict: bool
    ) -> Version:
        """Keep a version that gets no traffic."""
        async with self._locks[account_id, name]:
            script = self.existing(account_id, name)
            if upload.metadata.get("migrations"):
                raise ApiError(
                    400,
                    HAS_MIGRATION,
                    "Version upload failed. You attempted to upload a version of a Worker that includes a Durable"
                    " Object migration, but migrations must be fully applied via a non-versioned deployment. Refer to"
                    " the documentation for more information.",
                )
            classes = self._scripts.object_classes(script)
            content = self._content(script, script, upload, strict=strict, classes=classes)
            annotations = annotations_from(upload.metadata.get("annotations"), triggered_by="upload")
            draft = await self._tried(script, await self._with_modules(content, upload), classes, annotations)
            version = self._store(script, draft, author, annotations, classes)
            self._directory.refresh(account_id, name)
            return version

    async def deploy(
        self,
        account_id: str,
        name: str,
        traffic: Traffic,
        author: Author,
        *,
        annotations: Mapping[str, str],
        force: bool,
    ) -> Deployment:
        """
        Make *traffic* the current deployment, once its versions are running.

        Raises:
            ApiError: A version is unknown or too old, or secrets changed since it was live and *force* wasn't given.
        """
        async with self._locks[account_id, name]:
            script = self.existing(account_id, name)
            versions = [self._deployable(script, version_id) for version_id, _ in traffic]
            current = self._scripts.current_deployment(script)
            if not force and current is not None and len(versions) == 1:
                self._raise_if_secrets_changed(script, current, versions[0])
            triggered_by = _trigger(self._scripts, script, current, versions)
            for version in versions:
                spec = self._directory.spec(account_id, name, version.id)
                assert spec is not None, "the directory reads the same database"
                await self._started(spec)
            deployment = self._scripts.add_deployment(
                script,
                traffic,
                author=author.identity,
                source=author.source,
                annotations={"workers/triggered_by": triggered_by, **annotations},
            )
            await self._went_live(script)
            return deployment

    async def edit_secrets(
        self,
        account_id: str,
        name: str,
        changes: Mapping[str, Binding | None],
        author: Author,
        *,
        code: int,
    ) -> Version:
        """
        Set (or with None delete) secrets in a new version that goes live at once.

        Args:
            code: With which number to refuse when the newest version isn't the one that is live (10214 or 10215).

        Raises:
            ApiError: The newest version isn't live, or a secret to delete isn't there.
        """
        async with self._locks[account_id, name]:
            script = self.existing(account_id, name)
            newest = self._scripts.newest_version(script)
            current = self._scripts.current_deployment(script)
            if newest is None or current is None or current.traffic != ((newest.id, 100.0),):
                raise ApiError(400, code, _NOT_DEPLOYED[code])
            annotations = {"workers/triggered_by": "secret"}
            classes = self._scripts.object_classes(script)
            draft = self._derived(script, newest, changes, classes)
            await self._started(self._spec(script, draft, classes, annotations))
            with self._database.transaction():
                version = self._store(script, draft, author, annotations, classes, etag=newest.etag)
                self._scripts.add_deployment(
                    script,
                    ((version.id, 100.0),),
                    author=author.identity,
                    source=author.source,
                    annotations=annotations,
                )
            await self._went_live(script)
            return version

    async def patch_latest(
        self,
        account_id: str,
        name: str,
        changes: Mapping[str, Binding | None],
        author: Author,
        annotations: Mapping[str, str],
    ) -> Version:
        """Make a version that differs from the newest in the given bindings and gets no traffic."""
        async with self._locks[account_id, name]:
            script = self.existing(account_id, name)
            newest = self._scripts.newest_version(script)
            if newest is None:
                raise ApiError(404, NO_VERSIONS, "This Worker has no versions.")
            classes = self._scripts.object_classes(script)
            draft = self._derived(script, newest, changes, classes)
            noted = {"workers/triggered_by": "secret", **annotations}
            version = self._store(script, draft, author, noted, classes, etag=newest.etag)
            self._directory.refresh(account_id, name)
            return version

    async def edit_settings(
        self, account_id: str, name: str, changes: Mapping[str, Any], author: Author
    ) -> tuple[Script, Version]:
        """
        Change versioned settings (bindings, compatibility, placement, …) in a new version that goes live at once.

        Raises:
            ApiError: 10214, the newest version isn't live.
        """
        for key in ("bindings", "keep_bindings"):
            if not isinstance(changes.get(key) or [], list):
                raise ApiError(400, INVALID_SCRIPT, f"{key} must be a list")
        async with self._locks[account_id, name]:
            script = self.existing(account_id, name)
            newest = self._scripts.newest_version(script)
            current = self._scripts.current_deployment(script)
            if newest is None or current is None or current.traffic != ((newest.id, 100.0),):
                raise ApiError(400, SETTINGS_NOT_DEPLOYED, _NOT_DEPLOYED[SETTINGS_NOT_DEPLOYED])
            content = newest.content
            if "bindings" in changes:
                content = replace(
                    content,
                    bindings=resolve(
                        with_values(changes["bindings"] or [], newest.content.bindings),
                        keep=changes.get("keep_bindings") or (),
                        newest=newest.content.bindings,
                        of_version=lambda wanted: self._bindings_of(script, wanted),
                        strict=True,
                    ),
                )
            content = replace(
                content,
                compatibility_date=_date(changes) or content.compatibility_date,
                compatibility_flags=_strings(changes, "compatibility_flags", content.compatibility_flags),
                extra={**content.extra, **{key: changes[key] for key in _EXTRA if key in changes}},
            )
            classes = self._scripts.object_classes(script)
            self._raise_if_bindings_invalid(script, content.bindings, classes)
            annotations = {"workers/triggered_by": "upload"}
            draft = await self._tried(script, content, classes, annotations)
            await self._started(self._spec(script, draft, classes, annotations))
            with self._database.transaction():
                version = self._store(script, draft, author, annotations, classes, etag=newest.etag)
                self._scripts.add_deployment(
                    script,
                    ((version.id, 100.0),),
                    author=author.identity,
                    source=author.source,
                    annotations=annotations,
                )
            await self._went_live(script)
            return self.existing(account_id, name), version

    async def delete(self, account_id: str, name: str) -> None:
        """Remove a Worker, what runs of it, and what its Durable Objects kept."""
        async with self._locks[account_id, name]:
            script = self.existing(account_id, name)
            self._scripts.delete(script)
            self._directory.refresh(account_id, name)
            self._directory.refresh_hosts()
            await self._runtime.deployed(account_id, name)
            await self._runtime.remove(account_id, name)

    # --- steps

    def _content(
        self,
        known: Script | None,
        script: Script,
        upload: Upload,
        *,
        strict: bool,
        classes: Sequence[ObjectClass],
    ) -> Content:
        """Compose what the version will be, with modules still to be stored."""
        metadata = upload.metadata
        newest = self._scripts.newest_version(known) if known else None
        bindings = resolve(
            metadata.get("bindings") or [],
            keep=metadata.get("keep_bindings") or (),
            newest=newest.content.bindings if newest else None,
            of_version=lambda wanted: self._bindings_of(known, wanted) if known else None,
            strict=strict,
        )
        self._raise_if_bindings_invalid(script, bindings, classes)
        return Content(
            main_module=upload.main_module,
            body_part=upload.body_part,
            modules=[],
            compatibility_date=_date(metadata),
            compatibility_flags=_strings(metadata, "compatibility_flags", []),
            bindings=bindings,
            assets=self._assets(script, metadata, newest),
            extra={key: metadata[key] for key in _EXTRA if key in metadata},
        )

    def _assets(self, script: Script, metadata: Mapping[str, Any], newest: Version | None) -> dict[str, Any] | None:
        given = metadata.get("assets")
        kept = newest.content.assets if newest and metadata.get("keep_assets") else None
        if not given:
            return kept
        config = given.get("config") or {}
        if given.get("jwt"):
            return {"files": self._sessions.files(script.account_id, script.name, given["jwt"]), "config": config}
        if kept is not None:
            return {"files": kept["files"], "config": config or kept["config"]}
        raise ApiError(400, INVALID_SCRIPT, "metadata: assets needs the jwt of a completed upload session")

    def _bindings_of(self, script: Script, version_id: str) -> list[Binding] | None:
        version = self._scripts.version(script, version_id)
        return None if version is None else version.content.bindings

    def _raise_if_bindings_invalid(
        self, script: Script, bindings: Iterable[Binding], classes: Sequence[ObjectClass]
    ) -> None:
        raise_if_invalid(
            bindings,
            self._catalogue(script.account_id),
            script=script.name,
            own_classes={known.name for known in classes},
        )

    async def _with_modules(self, content: Content, upload: Upload) -> Content:
        modules = await asyncio.to_thread(
            lambda: [
                {
                    "name": module.name,
                    "type": module.content_type,
                    "blob": self._blobs.put(module.content),
                    "size": len(module.content),
                }
                for module in upload.modules
            ]
        )
        return replace(content, modules=modules)

    async def _tried(
        self,
        script: Script,
        content: Content,
        classes: Sequence[ObjectClass],
        annotations: Mapping[str, str],
        *,
        before: Sequence[ObjectClass] | None = None,
    ) -> _Draft:
        """
        Have workerd start the version once.

        Args:
            before: Durable Object classes that there were before this upload's migrations; *classes* if None.
        """
        draft = _Draft(new_uuid(), now(), content, Validated(0, ()))
        spec = self._spec(script, draft, classes, annotations)
        try:
            validated = await self._runtime.validate(spec)
        except ScriptInvalid as error:
            raise _refusal(error, classes, classes if before is None else before) from error
        except WorkerdUnavailable as error:
            raise ApiError(500, INTERNAL, error.message) from error
        content = replace(
            content,
            handlers=list(validated.handlers),
            named_handlers={name: list(handlers) for name, handlers in validated.named_handlers.items()},
        )
        return replace(draft, content=content, validated=validated)

    def _store(
        self,
        script: Script,
        draft: _Draft,
        author: Author,
        annotations: Mapping[str, str],
        classes: Sequence[ObjectClass],
        *,
        etag: str | None = None,
    ) -> Version:
        bindings = [self._with_namespace(script, binding, classes) for binding in draft.content.bindings]
        return self._scripts.add_version(
            script,
            replace(draft.content, bindings=bindings),
            version_id=draft.version_id,
            created_on=draft.created_on,
            etag=etag or _etag(draft.content),
            author=author.identity,
            source=author.source,
            annotations=dict(annotations),
            has_preview=not classes and self._directory.preview_suffix(script) is not None,
            startup_time_ms=draft.validated.startup_time_ms,
        )

    def _with_namespace(self, script: Script, binding: Binding, classes: Sequence[ObjectClass]) -> Binding:
        """Return a binding to a Durable Object class with the id of its namespace, which deploys of containers read."""
        if binding["type"] != "durable_object_namespace":
            return binding
        owner = binding.get("script_name") or script.name
        if owner != script.name:
            other = self._scripts.get(script.account_id, owner)
            classes = self._scripts.object_classes(other) if other else ()
        found = [known.id for known in classes if known.name == binding.get("class_name")]
        return {**binding, "namespace_id": found[0]} if found else binding

    def _derived(
        self, script: Script, newest: Version, changes: Mapping[str, Binding | None], classes: Sequence[ObjectClass]
    ) -> _Draft:
        """Return a version that differs from the newest in the given bindings."""
        bindings = {binding["name"]: binding for binding in newest.content.bindings}
        for name, binding in changes.items():
            if binding is not None:
                bindings[name] = binding
            elif name in bindings and bindings[name]["type"] in SECRET_TYPES:
                del bindings[name]
            else:
                raise ApiError(404, SECRET_NOT_FOUND, f"Secret '{name}' not found.")
        content = replace(newest.content, bindings=list(bindings.values()))
        self._raise_if_bindings_invalid(script, content.bindings, classes)
        unchanged = Validated(newest.startup_time_ms, tuple(content.handlers))
        return _Draft(new_uuid(), now(), content, unchanged)

    def _deployable(self, script: Script, version_id: str) -> Version:
        version = self._scripts.version(script, version_id)
        if version is None:
            raise ApiError(404, VERSION_NOT_FOUND, f"Version '{version_id}' could not be found.")
        if not self._scripts.is_deployable(script, version):
            raise ApiError(400, VERSION_NOT_FOUND, f"Version '{version_id}' is too old to be deployed.")
        return version

    def _raise_if_secrets_changed(self, script: Script, current: Deployment, target: Version) -> None:
        live = self._scripts.version(script, current.traffic[0][0])
        # Only the way back is guarded: a newer version brings its own secrets.
        if live is None or target.number >= live.number:
            return
        changed = changed_secrets(target.content.bindings, live.content.bindings)
        if changed:
            raise ApiError(
                400,
                SECRETS_CHANGED,
                "A secret has been changed since this version was deployed; use force to roll back anyway."
                f" The following secrets have changed: {', '.join(changed)}",
            )

    def _spec(
        self, script: Script, draft: _Draft, classes: Sequence[ObjectClass], annotations: Mapping[str, str]
    ) -> VersionSpec:
        return self._directory.spec_of(
            script,
            draft.version_id,
            draft.content,
            classes,
            tag=annotations.get("workers/tag"),
            message=annotations.get("workers/message"),
            created_on=draft.created_on,
        )

    async def _started(self, spec: VersionSpec) -> None:
        """Have a version running before anybody is sent to it."""
        try:
            await self._runtime.ensure(spec)
        except (WorkerdUnavailable, ScriptInvalid) as error:
            raise ApiError(500, INTERNAL, error.message) from error

    async def _went_live(self, script: Script) -> None:
        self._directory.refresh(script.account_id, script.name)
        await self._runtime.deployed(script.account_id, script.name)


def _refusal(error: ScriptInvalid, classes: Sequence[ObjectClass], before: Sequence[ObjectClass]) -> ApiError:
    """Return the API's answer to what workerd refuses; classes that the code lacks have numbers of their own."""
    had = {known.name for known in before}
    for known in classes:
        if not error.message.startswith(f"Class '{known.name}' is not exported"):
            continue
        if known.name in had:
            return ApiError(
                400,
                CLASS_LOST,
                f"New version of script does not export class '{known.name}' which is depended on by existing Durable"
                " Objects. If you want to delete them, use a deleted_classes migration.",
            )
        return ApiError(
            400,
            CLASS_NOT_EXPORTED,
            f"Cannot apply new-class migration to class '{known.name}' that is not exported by script.",
        )
    return ApiError(400, INVALID_SCRIPT, error.message)


_NOT_DEPLOYED = {
    SETTINGS_NOT_DEPLOYED: "Script edit failed. You attempted to deploy the latest version with modified settings, but"
    " the latest version isn't currently deployed.",
    VERSION_NOT_DEPLOYED: "Secret edit failed. You attempted to modify a secret, but the latest version of your Worker"
    " isn't currently deployed.",
}


def traffic_from(body: Mapping[str, Any]) -> Traffic:
    """
    Read the ``versions`` of a deployment.

    Raises:
        ApiError: There are none or too many, one is there twice, or the percentages don't add up to 100.
    """
    if body.get("strategy", "percentage") != "percentage":
        raise ApiError(400, INVALID_DEPLOYMENT, "strategy must be 'percentage'.")
    given = body.get("versions")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_VERSIONS_IN_DEPLOYMENT:
        raise ApiError(
            400, INVALID_DEPLOYMENT, f"versions must be a list of one to {MAX_VERSIONS_IN_DEPLOYMENT} versions."
        )
    traffic: list[tuple[str, float]] = []
    for entry in given:
        version_id = entry.get("version_id") if isinstance(entry, dict) else None
        share = entry.get("percentage") if isinstance(entry, dict) else None
        if not isinstance(version_id, str) or isinstance(share, bool) or not isinstance(share, (int, float)):
            raise ApiError(400, INVALID_DEPLOYMENT, "each version needs a version_id and a percentage.")
        if not 0 <= share <= 100:
            raise ApiError(400, INVALID_DEPLOYMENT, f"percentage {share} is not between 0 and 100.")
        traffic.append((version_id, float(share)))
    total = sum(share for _, share in traffic)
    if abs(total - 100) > 0.001:
        raise ApiError(400, INVALID_DEPLOYMENT, f"percentages must add up to 100, not {total:g}.")
    if len({version_id for version_id, _ in traffic}) != len(traffic):
        raise ApiError(400, INVALID_DEPLOYMENT, "a version can be in a deployment once only.")
    return tuple(traffic)


def _trigger(scripts: Scripts, script: Script, current: Deployment | None, versions: Sequence[Version]) -> str:
    """Name what wrangler calls the trigger of a deployment: going back to an earlier version is a rollback."""
    if current is None or len(versions) != 1:
        return "deployment"
    live = scripts.version(script, current.traffic[0][0])
    return "rollback" if live is not None and versions[0].number < live.number else "deployment"


def _etag(content: Content) -> str:
    files = (content.assets or {}).get("files") or {}
    parts = {
        "main": content.main_module or content.body_part,
        "modules": [[module["name"], module["type"], module["blob"]] for module in content.modules],
        "assets": sorted([path, file["blob"]] for path, file in files.items()),
        "config": (content.assets or {}).get("config"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _message(annotations: Mapping[str, str]) -> dict[str, str]:
    message = annotations.get("workers/message")
    return {"workers/message": message} if message else {}


def _text(metadata: Mapping[str, Any], key: str) -> str:
    value = metadata.get(key) or ""
    if not isinstance(value, str):
        raise ApiError(400, INVALID_SCRIPT, f"metadata: {key} must be a string")
    return value


def _date(metadata: Mapping[str, Any]) -> str:
    """Read the compatibility date; workerd itself is asked about the rest, but it knows no date after its own."""
    asked = _text(metadata, "compatibility_date")
    # What is no date at all is refused where the version is started.
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", asked) and asked > now()[:10]:
        raise ApiError(400, INVALID_SCRIPT, f"Can't set compatibility date in the future: {asked}")
    return asked


def _strings(metadata: Mapping[str, Any], key: str, default: list[str]) -> list[str]:
    value = metadata.get(key)
    if value is None:
        return default
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ApiError(400, INVALID_SCRIPT, f"metadata: {key} must be a list of strings")
    return value
