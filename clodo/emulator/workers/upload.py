"""A multipart upload of a script, taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from clodo.emulator.envelope import ApiError, is_unicode, parse_json, read_body
from clodo.emulator.workers.limits import MAX_PARTS, MAX_SCRIPT_BYTES, MAX_UPLOAD_BYTES

#: "Script upload failed", "Validation failed": the number of nearly everything that is wrong with an upload.
INVALID_SCRIPT = 10021
TOO_LARGE = 10027
NO_MAIN_MODULE = 10021

#: Parts whose name says nothing about the module in them: how SDKs send files.
ANONYMOUS_PARTS = frozenset({"files", "files[]", "file", "modules"})


@dataclass(frozen=True, slots=True)
class UploadedModule:
    """One module as it was sent."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Upload:
    """
    A script as it was sent.

    Attributes:
        metadata: The part of that name; may hold secrets.

        modules: In the order sent; source maps among them.
    """

    metadata: Mapping[str, Any] = field(repr=False)
    modules: tuple[UploadedModule, ...]

    @property
    def main_module(self) -> str | None:
        """Name of the ES module with the handlers."""
        return self.metadata.get("main_module")

    @property
    def body_part(self) -> str | None:
        """Name of the part that is a service-worker script."""
        return self.metadata.get("body_part")


async def read_upload(request: Request) -> Upload:
    """
    Read an upload: multipart with metadata and modules, or a bare script.

    Raises:
        ApiError: It is too large, no multipart, lacks metadata or the main module.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MAX_UPLOAD_BYTES:
        raise ApiError(413, TOO_LARGE, f"request body of {announced} bytes exceeds the limit of {MAX_UPLOAD_BYTES}")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await _bare_script(request)
    try:
        form = await request.form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=MAX_UPLOAD_BYTES)
    except MultiPartException as error:
        raise ApiError(400, INVALID_SCRIPT, f"Uncaught Error: malformed multipart body: {error.message}") from error
    metadata: Any = None
    modules: list[UploadedModule] = []
    total = 0
    for name, value in form.multi_items():
        content, filename, kind = await _part(value)
        if name == "metadata":
            metadata = parse_json(content, code=INVALID_SCRIPT, message="metadata part is not valid JSON")
            continue
        total += len(content)
        if total > MAX_SCRIPT_BYTES:
            raise ApiError(413, TOO_LARGE, f"Your Worker exceeded the size limit of {MAX_SCRIPT_BYTES} bytes.")
        modules.append(UploadedModule(filename if name in ANONYMOUS_PARTS and filename else name, kind, content))
    if not isinstance(metadata, dict):
        raise ApiError(400, INVALID_SCRIPT, "could not read content for part metadata")
    if not is_unicode(metadata):
        raise ApiError(400, INVALID_SCRIPT, "metadata: half of a surrogate pair is no text")
    return checked(Upload(metadata, tuple(modules)))


async def _part(value: str | UploadFile) -> tuple[bytes, str | None, str]:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass"), None, "text/plain"
    return await value.read(), value.filename, value.content_type or "application/octet-stream"


async def _bare_script(request: Request) -> Upload:
    content = await read_body(request, MAX_SCRIPT_BYTES, code=TOO_LARGE, what="script")
    kind = request.headers.get("content-type", "application/javascript").partition(";")[0].strip()
    if not content:
        raise ApiError(400, INVALID_SCRIPT, "No script was uploaded.")
    if kind == "application/javascript+module":
        return Upload({"main_module": "worker.js"}, (UploadedModule("worker.js", kind, content),))
    return Upload({"body_part": "script"}, (UploadedModule("script", "application/javascript", content),))


def checked(upload: Upload) -> Upload:
    """
    Return an upload whose parts fit together.

    Raises:
        ApiError: A module is there twice, the entry isn't there, or a key of the metadata has the wrong type.
    """
    names = [module.name for module in upload.modules]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ApiError(400, INVALID_SCRIPT, f"Module {doubled[0]!r} was uploaded more than once.")
    for entry in (upload.main_module, upload.body_part):
        if entry is not None and entry not in names:
            raise ApiError(400, NO_MAIN_MODULE, f"No such module {entry!r} in the upload; it is named as the entry.")
    if upload.main_module is None and upload.body_part is None and not _is_assets_only(upload.metadata):
        raise ApiError(400, NO_MAIN_MODULE, "metadata must have main_module, body_part or assets.")
    for key in ("bindings", "keep_bindings", "compatibility_flags", "tags"):
        if not isinstance(upload.metadata.get(key) or [], list):
            raise ApiError(400, INVALID_SCRIPT, f"metadata: {key} must be a list")
    for key in ("assets", "migrations", "annotations", "observability", "exports"):
        if not isinstance(upload.metadata.get(key) or {}, dict):
            raise ApiError(400, INVALID_SCRIPT, f"metadata: {key} must be an object")
    return upload


def _is_assets_only(metadata: Mapping[str, Any]) -> bool:
    return bool(metadata.get("assets") or metadata.get("keep_assets"))
