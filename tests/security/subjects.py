"""Subjects for rules, in one call."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from clodo.security.rule import Rule
from clodo.security.subject import Kind, Setting, Stage, Subject
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.finding import Finding
from tests.workspace.folders import effective

TODAY = date(2026, 11, 20)
HEAD = 'name = "api"\nmain = "index.js"\n'
STRONG = "Zq8vN2xW5tK7mB4cR9pL3sD6fG1hJ0yU"


def settings(kind: Kind, **values: str) -> tuple[Setting, ...]:
    """Return settings of one kind."""
    return tuple(
        Setting(name, value, f"/workspace/file:{line}", kind) for line, (name, value) in enumerate(values.items(), 1)
    )


def subject(stage: Stage = Stage.PRODUCTION, *groups: tuple[Setting, ...], **more: object) -> Subject:
    """Return a subject with these settings."""
    found = tuple(setting for group in groups for setting in group)
    return Subject("api@production", stage, found, TODAY, **more)  # type: ignore[arg-type]


def configured(folder: Path, text: str, stage: Stage = Stage.PRODUCTION, **more: object) -> Subject:
    """Return a subject with a wrangler config."""
    config: EffectiveConfig = effective(folder, HEAD + text)
    return Subject("api@production", stage, (), TODAY, config=config, **more)  # type: ignore[arg-type]


def fired(rule: Rule, looked_at: Subject) -> list[Finding]:
    """Return what *rule* finds."""
    return list(rule.findings(looked_at))
