"""
One hash over everything that decides what a release uploads.

In the hash:

- the effective config, without what is compared with the account on its own (routes, schedules, workers.dev, previews);
- every file in the service's folder that git does not ignore, and every file, ignored or not, that the config or a
  relative import reaches (built entry points, assets, blobs, migrations), wherever it lies;
- the folder around each imported file that lies outside the service, and whatever the ``paths`` and ``baseUrl`` of a
  tsconfig open to imports;
- packages of the user that it declares or imports (npm workspace members, ``file:`` and linked packages), likewise;
- ``package.json``, lock files, ``.npmrc`` and ``tsconfig`` files from the service's folder up to the repository's top;
- what the caller passes: fingerprints of secrets and toolchain, and anything else it names.

Not in the hash: the content of ``node_modules``, which a lock file pins (without one the hash is uncertain); and what a
build command reads from places its text does not show (a build that mentions paths outside makes the hash uncertain).
Uncertain, too, when imports are opened to a folder above the service, where git may ignore what is imported.
An uncertain hash that is equal proves nothing: bundle and compare.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.file_digests import FileDigests
from clodo.workspace.inputs import Inputs

_VERSION = "clodo-input-1"
# Compared with what is live, separately from the code; or without a say in what is uploaded.
_NOT_UPLOADED = (
    "$schema",
    "account_id",
    "addresses",
    "dev",
    "env",
    "preview_urls",
    "previews",
    "route",
    "routes",
    "send_metrics",
    "triggers",
    "workers_dev",
)
_REACHES_OUT = re.compile(r"(?:^|[\s\"'=:(])(?:\.\./|\.\.(?:\s|$)|/(?!dev/null)[A-Za-z]|~/)")


@dataclass(frozen=True, slots=True)
class InputHash:
    """
    What a release would be made from, as one hash.

    Attributes:
        digest: 64 hex digits; equal only for equal inputs.

        doubts: Why an equal digest would not prove equal inputs, one sentence each.

        parts: Digest of each kind of input (``config``, ``files``, ``secrets``, ``toolchain``, and the caller's own).

        file_count: How many files are in it.
    """

    digest: str
    doubts: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    file_count: int = 0

    @property
    def is_certain(self) -> bool:
        """Whether an equal digest proves that nothing changed."""
        return not self.doubts

    def changed_parts(self, parts: Mapping[str, str]) -> tuple[str, ...]:
        """Return the kinds of input that differ from the *parts* of another hash, sorted."""
        names = self.parts.keys() | parts.keys()
        return tuple(sorted(name for name in names if self.parts.get(name) != parts.get(name)))


def input_hash(
    effective: EffectiveConfig,
    *,
    root: Path,
    digests: FileDigests,
    secrets_fingerprint: str,
    toolchain_fingerprint: str,
    build_commands: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
) -> InputHash:
    """
    Hash everything that decides what a release of *effective* uploads; call it after install and build.

    Args:
        effective: The target's config, customer's values included.

        root: The workspace's root; paths are hashed relative to it, so that a checkout elsewhere hashes the same.

        digests: Remembered digests of files; save them afterwards.

        secrets_fingerprint: Keyed fingerprint of the secrets' names and values.

        toolchain_fingerprint: Of wrangler, node and workerd.

        build_commands: What is run before the upload, as shell text.

        extra: More inputs by name (ids that names were resolved to, say).

    Raises:
        BadConfiguration: A ``package.json`` is broken.

        Failed: A file can't be read.
    """
    inputs = Inputs.of_service(effective, root=root, digests=digests)
    doubts = [*inputs.doubts, *(_doubt_about(command) for command in build_commands if reaches_out(command))]
    parts = {
        "config": _digest_of_config(effective),
        "files": inputs.digest(),
        "secrets": secrets_fingerprint,
        "toolchain": toolchain_fingerprint,
        "build": _digest(list(build_commands)),
        **{f"extra:{name}": value for name, value in sorted((extra or {}).items())},
    }
    return InputHash(_digest([_VERSION, parts]), tuple(doubts), parts, len(inputs.found))


def reaches_out(command: str) -> bool:
    """Whether a shell command mentions a path outside the folder it runs in."""
    return _REACHES_OUT.search(command) is not None


def _digest_of_config(effective: EffectiveConfig) -> str:
    raw = {key: value for key, value in effective.raw.items() if key not in _NOT_UPLOADED}
    return _digest([effective.worker_name, raw])


def _doubt_about(command: str) -> str:
    return f"the build command `{command}` mentions a path outside the service"


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.date | datetime.time):
        return {"date": value.isoformat()}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a hash")
