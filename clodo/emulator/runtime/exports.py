"""What a script exports, found out by starting it once; pure but for the reading of its answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clodo.emulator.runtime.ports import ScriptInvalid, VersionSpec

#: Handlers that an API answer may list; other functions of a default export are the script's own business.
KNOWN_HANDLERS = frozenset(
    ("fetch", "scheduled", "queue", "email", "tail", "tailStream", "trace", "alarm", "connect", "test")
)
_LISTENER = re.compile(r"addEventListener\s*\(\s*[\"'`](\w+)[\"'`]")
_SERVICE_PREFIX = re.compile(r"^service user-\d+: ", re.MULTILINE)
_KINDS_WITH_ENTRYPOINT = frozenset(("WorkerEntrypoint", "object"))


@dataclass(frozen=True, slots=True)
class Exports:
    """
    What a script exports.

    Attributes:
        handlers: Of the default export, sorted.

        named: Handlers or methods of every other export that is an object or a class.

        entrypoints: Names of the exports that other Workers can call.

        startup_seconds: From starting workerd to this answer.
    """

    handlers: tuple[str, ...]
    named: Mapping[str, tuple[str, ...]]
    entrypoints: tuple[str, ...]
    startup_seconds: float = 0.0


def content_key(spec: VersionSpec) -> str:
    """Return what is equal for versions that export the same."""
    digest = hashlib.sha256()
    for part in (
        spec.main_module or "",
        spec.body_part or "",
        spec.compatibility_date,
        *spec.compatibility_flags,
        *(f"{module.name}\0{module.content_type}\0{module.path}" for module in spec.modules),
    ):
        digest.update(part.encode() + b"\0\0")
    return digest.hexdigest()


def read_exports(described: Mapping[str, Any], seconds: float) -> Exports:
    """Return `Exports` from what the probe answered."""
    default = described.get("default") or {"kind": "undefined", "handlers": []}
    is_class = default["kind"] in ("WorkerEntrypoint", "Class")
    handlers = default["handlers"] if is_class else [name for name in default["handlers"] if name in KNOWN_HANDLERS]
    others = {name: item for name, item in described.items() if name != "default"}
    return Exports(
        handlers=tuple(sorted(handlers)),
        named={
            name: tuple(sorted(item["handlers"]))
            for name, item in sorted(others.items())
            if item["kind"] in ("WorkerEntrypoint", "DurableObject", "WorkflowEntrypoint", "Class", "object")
        },
        entrypoints=tuple(
            sorted(name for name, item in others.items() if item["kind"] in _KINDS_WITH_ENTRYPOINT and item["handlers"])
        ),
        startup_seconds=seconds,
    )


def listeners_of(script: Path) -> tuple[str, ...]:
    """Return the events that a service-worker script listens to, read from its text: it exports nothing."""
    return tuple(sorted(set(_LISTENER.findall(script.read_text(encoding="utf-8", errors="replace")))))


def raise_if_useless(spec: VersionSpec, exports: Exports) -> None:
    """
    Refuse what Cloudflare refuses although it starts.

    Raises:
        ScriptInvalid: No handlers at all, or a Durable Object class that isn't exported.
    """
    if not exports.handlers and not exports.named:
        raise ScriptInvalid("No event handlers were registered. This script does nothing.")
    for item in spec.durable_objects:
        if item.class_name not in exports.named:
            raise ScriptInvalid(
                f"Class '{item.class_name}' is not exported by the script, but it implements Durable Objects."
            )


def refusal(output: str) -> str:
    """Return workerd's reason out of what it printed, as Cloudflare shows it."""
    lines = _SERVICE_PREFIX.sub("", output).strip().splitlines()
    for index, line in enumerate(lines):
        if line.startswith("Uncaught"):
            return "\n".join(lines[index:])
    return "\n".join(lines) or "The script could not be started."
