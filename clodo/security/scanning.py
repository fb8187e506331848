"""The secret scanner: detect-secrets over the files of a workspace that git keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clodo.security.credentials import CREDENTIAL_BITS
from clodo.security.shapes import is_dummy, is_test_key, shape_of
from clodo.security.strength import estimated_bits
from clodo.security.subject import Leak, Source

MAX_BYTES = 512 * 1024
_NEVER = frozenset(
    {
        "package-lock.json",
        "pnpm-lock.yaml",
        "yarn.lock",
        "bun.lock",
        "uv.lock",
        "poetry.lock",
        "worker-configuration.d.ts",
    }
)
_BINARY = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".webp",
        ".avif",
        ".ico",
        ".woff",
        ".woff2",
        ".ttf",
        ".otf",
        ".eot",
        ".pdf",
        ".zip",
        ".gz",
        ".br",
        ".wasm",
        ".mp3",
        ".mp4",
        ".webm",
        ".sqlite",
        ".sqlite3",
        ".db",
        ".map",
    ]
)
# What an id of Cloudflare's, a UUID or a checksum looks like; entropy alone would take each for a secret.
_IDS = re.compile(
    r"^(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}|sha(?:1|256|384|512)-.*)$",
    re.IGNORECASE,
)
# The name of a secret stands for none.
_IDENTIFIER = re.compile(r"[A-Z][A-Z0-9_]*|\{.*\}.*")
_PLUGINS = (
    {"name": "ArtifactoryDetector"},
    {"name": "AWSKeyDetector"},
    {"name": "AzureStorageKeyDetector"},
    {"name": "BasicAuthDetector"},
    {"name": "DiscordBotTokenDetector"},
    {"name": "GitHubTokenDetector"},
    {"name": "GitLabTokenDetector"},
    {"name": "JwtTokenDetector"},
    {"name": "KeywordDetector"},
    {"name": "MailchimpDetector"},
    {"name": "NpmDetector"},
    {"name": "OpenAIDetector"},
    {"name": "PrivateKeyDetector"},
    {"name": "PypiTokenDetector"},
    {"name": "SendGridDetector"},
    {"name": "SlackDetector"},
    {"name": "SquareOAuthDetector"},
    {"name": "StripeDetector"},
    {"name": "TelegramBotTokenDetector"},
    {"name": "TwilioKeyDetector"},
    {"name": "Base64HighEntropyString", "limit": 4.5},
    {"name": "HexHighEntropyString", "limit": 3.4},
)
_FILTERS = tuple(
    f"detect_secrets.filters.{name}"
    for name in (
        "allowlist.is_line_allowlisted",
        "heuristic.is_indirect_reference",
        "heuristic.is_likely_id_string",
        "heuristic.is_potential_uuid",
        "heuristic.is_prefixed_with_dollar_sign",
        "heuristic.is_sequential_string",
        "heuristic.is_templated_secret",
        "heuristic.is_not_alphanumeric_string",
    )
)
_UNCERTAIN = frozenset({"Secret Keyword", "Base64 High Entropy String", "Hex High Entropy String"})


def scan(files: Iterable[Path]) -> Iterator[Leak]:
    """
    Yield what looks like a credential in *files*; the credential itself goes nowhere.

    Binary files, lock files and files over 512 KiB are passed over.
    """
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import transient_settings

    with transient_settings({"plugins_used": list(_PLUGINS), "filters_used": [{"path": path} for path in _FILTERS]}):
        for file in files:
            if is_scanned(file):
                yield from _leaks_of(file, list(scan_file(str(file))))


def is_scanned(file: Path) -> bool:
    """Whether a file is one that somebody writes."""
    if file.name in _NEVER or file.suffix.lower() in _BINARY or file.name.endswith((".min.js", ".min.css")):
        return False
    try:
        return file.stat().st_size <= MAX_BYTES
    except OSError:
        return False


def _leaks_of(file: Path, found: list[Any]) -> Iterator[Leak]:
    """Give one leak a line, the certain one if there is one; and those of our own shapes, which the scanner lacks."""
    by_line: dict[int, Leak] = {}
    for secret in found:
        value = secret.secret_value or ""
        if (
            is_dummy(value)
            or is_test_key(value)
            or _IDS.fullmatch(value)
            or ("://" in value and shape_of(value) is None)
        ):
            continue
        if secret.type in _UNCERTAIN and (_IDENTIFIER.fullmatch(value) or estimated_bits(value) < CREDENTIAL_BITS):
            continue
        is_certain = secret.type not in _UNCERTAIN or shape_of(value) is not None
        kind = shape_of(value) or f"what looks like a secret ({secret.type})"
        line = int(secret.line_number)
        leak = Leak(Source.FILE, secret.type, f"{file}:{line}", f"{secret.type}: holds {kind}", is_certain)
        if line not in by_line or (is_certain and not by_line[line].is_certain):
            by_line[line] = leak
    for number, text in enumerate(_lines(file), start=1):
        shape = shape_of(text) if "allowlist secret" not in text else None
        if shape and not (number in by_line and by_line[number].is_certain):
            by_line[number] = Leak(Source.FILE, shape, f"{file}:{number}", f"{shape} stands in this file", True)
    yield from (by_line[line] for line in sorted(by_line))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
