"""Small workspaces for tests, written in one call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.wrangler_config import WranglerConfig


def write(root: Path, files: dict[str, str | dict[str, Any]]) -> Path:
    """Write *files* below *root*; a dict becomes JSON."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content, indent=2), encoding="utf-8")
    return root


def config(root: Path, text: str | dict[str, Any], name: str = "wrangler.toml") -> WranglerConfig:
    """Write one wrangler config and read it."""
    write(root, {name: text})
    return WranglerConfig.read(root / name)


def effective(root: Path, text: str | dict[str, Any], environment: str | None = None) -> EffectiveConfig:
    """Write one wrangler config and flatten it."""
    return config(root, text, "wrangler.toml" if isinstance(text, str) else "wrangler.json").for_environment(
        environment
    )
