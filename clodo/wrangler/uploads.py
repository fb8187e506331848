"""What wrangler uploads, as a value: taken apart, hashed, stamped with the release, and put together again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from clodo.errors import BadUsage, WranglerFailed

MAX_TAG_BYTES = 100
MAX_MESSAGE_BYTES = 1000
SOURCE_MAP = "application/source-map"

# Bindings whose value nobody can read back, or that only say "as before": compared elsewhere (by keyed fingerprints),
# never part of the content.
_SECRET_TYPES = frozenset({"secret_text", "secret_key"})
_UNHASHED_BINDINGS = _SECRET_TYPES | {"inherit"}

# Not what runs: who made it, what to keep, or settings that `deploy` sends and `versions upload` doesn't (Cloudflare
# doesn't version them). Without these a first deploy and a later version of the same content have one hash.
_UNHASHED_METADATA = frozenset(
    {
        "annotations",
        "code_update_strategy",
        "keep_bindings",
        "logpush",
        "migrations",
        "observability",
        "package_dependencies",
        "streaming_tail_consumers",
        "tags",
    }
)


@dataclass(frozen=True, slots=True)
class Module:
    """One file of an upload; *content_type* is the part's, empty when it had none."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """One static file: the hash wrangler gave it (32 hex digits) and its size in bytes."""

    hash: str
    size: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """
    What the gateway writes into a version on its way to Cloudflare.

    Attributes:
        release_id: Opens the version's tag, ``<release id>.<sha256 of the content>``; at most 35 bytes.

        message: Shown beside the version; cut at 1000 bytes.

        keep_secrets_of: The live version, whose secrets the new one takes over. None for a first deploy, and when
            nothing may be kept.

        live_secret_names: Names of that version's secrets.

        look_first: Ask Cloudflare for a version with this tag even before the first attempt; for a release that is
            being resumed and can't know how far it came.
    """

    release_id: str
    message: str = ""
    keep_secrets_of: str | None = None
    live_secret_names: frozenset[str] = frozenset()
    look_first: bool = False

    def __post_init__(self) -> None:
        room = MAX_TAG_BYTES - 1 - 64
        if not 0 < len(self.release_id.encode()) <= room:
            raise BadUsage(f"release id {self.release_id!r}: must have 1 to {room} bytes")

    def tag(self, content_sha256: str) -> str:
        """Return the tag of a version of this release with that content."""
        return f"{self.release_id}.{content_sha256}"


@dataclass(frozen=True, slots=True)
class Upload:
    """
    A Worker's code and configuration as wrangler hands it to Cloudflare.

    Attributes:
        metadata: The ``metadata`` part: main module, bindings, compatibility date, …

        modules: In the order of the upload; source maps included.

        assets: URL path (``/index.html``) to file; empty for a Worker without static assets.
    """

    metadata: Mapping[str, Any]
    modules: tuple[Module, ...] = ()
    assets: Mapping[str, Asset] = field(default_factory=dict)

    @property
    def bindings(self) -> tuple[Mapping[str, Any], ...]:
        """Bindings as sent; values of secrets are in here, so don't show them."""
        return tuple(self.metadata.get("bindings") or ())

    @property
    def secret_names(self) -> frozenset[str]:
        """Names of the secrets that this upload carries the values of."""
        return frozenset(binding["name"] for binding in self.bindings if binding.get("type") in _SECRET_TYPES)

    @property
    def content_sha256(self) -> str:
        """
        Hash of what will run: modules, bindings, compatibility, static assets; 64 hex digits.

        Two uploads with the same hash behave alike, apart from their secrets: neither values nor names of secrets are
        in it, nor are source maps, annotations, pending Durable Object migrations (``versions upload`` refuses to run
        while there are any) and the settings that Cloudflare doesn't version. The order of bindings, modules and
        assets doesn't matter.
        """
        metadata = {name: value for name, value in self.metadata.items() if name not in _UNHASHED_METADATA}
        hashed = [binding for binding in self.bindings if binding.get("type") not in _UNHASHED_BINDINGS]
        metadata["bindings"] = sorted(hashed, key=_canonical)
        if isinstance(metadata.get("assets"), Mapping):
            metadata["assets"] = {name: value for name, value in metadata["assets"].items() if name != "jwt"}
        modules = sorted(
            (module.name, module.content_type, hashlib.sha256(module.content).hexdigest())
            for module in self.modules
            if module.content_type != SOURCE_MAP
        )
        assets = {path: [asset.hash, asset.size] for path, asset in self.assets.items()}
        whole = {"format": 1, "metadata": metadata, "modules": modules, "assets": assets}
        return hashlib.sha256(_canonical(whole).encode()).hexdigest()


def stamp_upload(upload: Upload, stamp: Stamp) -> Upload:
    """
    Return *upload* tagged with the release and its content's hash, keeping the live version's secrets and no others.

    Cloudflare resolves ``keep_bindings`` against the *newest* version, deployed or not: the secrets of a version that
    failed its tests and never got traffic would come along. So each secret to keep is named, with the version it is
    taken from.
    """
    metadata = dict(upload.metadata)
    bindings = [dict(binding) for binding in upload.bindings]
    if stamp.keep_secrets_of is not None:
        for binding in bindings:
            if binding.get("type") == "inherit":
                binding.setdefault("version_id", stamp.keep_secrets_of)
        carried = {binding["name"] for binding in bindings}
        bindings += [
            {"type": "inherit", "name": name, "version_id": stamp.keep_secrets_of}
            for name in sorted(stamp.live_secret_names - carried)
        ]
    metadata["bindings"] = bindings
    kept = [kind for kind in metadata.pop("keep_bindings", None) or [] if kind not in _SECRET_TYPES]
    if kept:
        metadata["keep_bindings"] = kept
    annotations = dict(metadata.get("annotations") or {})
    annotations["workers/tag"] = stamp.tag(upload.content_sha256)
    if stamp.message:
        annotations["workers/message"] = stamp.message.encode()[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore")
    metadata["annotations"] = annotations
    return replace(upload, metadata=metadata)


def parse_upload(content_type: str, body: bytes, assets: Mapping[str, Asset] | None = None) -> Upload:
    """
    Take a multipart upload apart.

    Args:
        content_type: The request's header, with the boundary.

        body: The request's whole body.

        assets: The manifest of the asset session that went before, if there was one.

    Raises:
        WranglerFailed: It isn't the multipart form that wrangler makes.
    """
    metadata: Mapping[str, Any] | None = None
    modules = []
    for part in _parts(content_type, body):
        if part.name == "metadata" and metadata is None:
            try:
                metadata = json.loads(part.content)
            except ValueError as error:
                raise WranglerFailed("wrangler's upload has metadata that isn't JSON") from error
        else:
            modules.append(part)
    if not isinstance(metadata, dict):
        raise WranglerFailed("wrangler's upload has no metadata")
    return Upload(metadata=metadata, modules=tuple(modules), assets=dict(assets or {}))


def render_upload(upload: Upload) -> tuple[str, bytes]:
    """Put an upload together again; returns the ``Content-Type`` header and the body."""
    metadata = json.dumps(upload.metadata, separators=(",", ":"), ensure_ascii=False).encode()
    digest = hashlib.sha256(metadata)
    for module in upload.modules:
        digest.update(module.content)
    boundary = f"----clodo-{digest.hexdigest()}"
    while any(boundary.encode() in content for content in (metadata, *(module.content for module in upload.modules))):
        boundary += "-"
    pieces = [f'--{boundary}\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'.encode(), metadata, b"\r\n"]
    for module in upload.modules:
        name = _quote(module.name)
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        if module.content_type:
            head += f"Content-Type: {module.content_type}\r\n"
        pieces += [head.encode() + b"\r\n", module.content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def _parts(content_type: str, body: bytes) -> list[Module]:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise WranglerFailed(f"wrangler's upload is not a multipart form but {content_type or 'nameless'!r}")
    collector = _Collector()
    parser = MultipartParser(boundary, collector.callbacks())
    try:
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise WranglerFailed(f"wrangler's upload can't be read: {error}") from error
    if not collector.is_complete:
        raise WranglerFailed("wrangler's upload ends in the middle")
    return collector.parts


class _Collector:
    """Gathers the parser's events into parts."""

    def __init__(self) -> None:
        self.parts: list[Module] = []
        self.is_complete = False
        self._field = bytearray()
        self._value = bytearray()
        self._headers: dict[str, str] = {}
        self._content = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._content.extend(data[start:end]),
            "on_part_end": self._end,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers, self._content = {}, bytearray()

    def _header(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("utf-8", "surrogateescape")
        self._field, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        name = re.search(r';\s*name="([^"]*)"', self._headers.get("content-disposition", ""))
        if name is None:
            raise WranglerFailed("wrangler's upload has a part without a name")
        self.parts.append(Module(_unquote(name[1]), self._headers.get("content-type", ""), bytes(self._content)))

    def _finish(self) -> None:
        self.is_complete = True


# Browsers' (and undici's) way of writing names into a form: only these three are escaped.
_ESCAPES = {'"': "%22", "\r": "%0D", "\n": "%0A"}


def _quote(name: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in name)


def _unquote(name: str) -> str:
    for character, escape in _ESCAPES.items():
        name = name.replace(escape, character)
    return name


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
