"""What wrangler says: lines without colours and secrets, and the ND-JSON it leaves behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

MASK = "********"
_SHORT = 4
_ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
_BOX = re.compile(r"^\s*(✘|X|▲)?\s*\[?ERROR\]?\s*", re.IGNORECASE)
_CODE = re.compile(r"\[code: (\d+)\]")


class Masker:
    """
    Takes secrets out of text.

    Each value is also found as it looks inside JSON and inside a URL, and each line of one that has several lines.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secrets)
        forms = set()
        for secret in self._secrets:
            for value in {secret, *secret.splitlines()}:
                if value.strip():
                    forms |= {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
                    forms |= {quote(value, safe=""), quote(value)}
        # The longest first: a secret may contain another. Short ones only as whole words, or nothing could be read.
        patterns = [
            re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in sorted(forms, key=lambda form: (-len(form), form))
        ]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def also(self, secret: str) -> Masker:
        """Return one that takes out *secret* too."""
        return Masker([*self._secrets, secret])

    def mask(self, text: str) -> str:
        """Return *text* with every secret replaced by asterisks."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def plain(line: str) -> str:
    """Return *line* without terminal escapes."""
    return _ANSI.sub("", line)


def read_records(path: Path) -> tuple[Mapping[str, Any], ...]:
    """Return wrangler's ND-JSON records, in order; a last line cut off by a crash is left out."""
    if not path.exists():
        return ()
    records = []
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return tuple(records)


def error_text(stderr: Sequence[str]) -> str:
    """Return the first error box of wrangler's stderr as one line, empty when there is none."""
    for index, line in enumerate(stderr):
        if "[ERROR]" in line:
            head = _BOX.sub("", line.split("[ERROR]", 1)[1]).strip()
            rest = []
            for following in stderr[index + 1 :]:
                if "[WARNING]" in following or "[ERROR]" in following or following.startswith(("If you think", "🪵")):
                    break
                if following.strip():
                    rest.append(following.strip())
            return " ".join([head, *rest])
    said = [line.strip() for line in stderr if line.strip()]
    return said[-1] if said else ""


def code_in(text: str) -> int | None:
    """Return Cloudflare's error number out of wrangler's prose, if it names one."""
    match = _CODE.search(text)
    return int(match[1]) if match else None
