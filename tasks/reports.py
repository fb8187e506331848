"""What an operator finds afterwards in the Prefect UI: artifacts and events."""

from __future__ import annotations

import re
from collections.abc import Iterable

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from clodo.releases.outcome import Ending, Outcome


def report(outcomes: Iterable[Outcome], *, portfolio: str) -> None:
    """Leave a page for each target that was released, a table for the portfolio, and an event for each ending."""
    outcomes = tuple(outcomes)
    for outcome in outcomes:
        if outcome.ending not in (Ending.UNCHANGED, Ending.PLANNED):
            create_markdown_artifact(
                markdown=page(outcome), key=artifact_key("release", outcome.target), description=title(outcome)
            )
            announce(outcome)
    create_table_artifact(table=rows(outcomes), key=artifact_key("portfolio", portfolio), description=counted(outcomes))


def rows(outcomes: Iterable[Outcome]) -> list[dict[str, str]]:
    """Return the portfolio's table: one row a target."""
    return [
        {
            "target": outcome.target,
            "ending": outcome.ending.value,
            "version": outcome.version_id or "",
            "release": outcome.release_id or "",
            "changes": ", ".join(outcome.changes),
            "seconds": f"{outcome.seconds:.1f}",
            "message": outcome.message,
        }
        for outcome in outcomes
    ]


def page(outcome: Outcome) -> str:
    """Return a release's page in Markdown: what changed, the verdicts, the versions, the way back."""
    lines = [f"# {title(outcome)}", ""]
    if outcome.message:
        lines += [_plain(outcome.message), ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | `{value}` |" for name, value in _facts(outcome) if value]
    if outcome.changes:
        lines += ["", "## What changed", "", *(f"- {_plain(change)}" for change in outcome.changes)]
    if outcome.tests:
        lines += ["", "## Verdicts", "", *(f"- passed: {_plain(test)}" for test in outcome.tests)]
    if outcome.is_success and outcome.previous_version_id:
        lines += ["", "## The way back", "", f"`clodo rollback {outcome.target} --to {outcome.previous_version_id}`"]
    return "\n".join(lines) + "\n"


def title(outcome: Outcome) -> str:
    """Return one line that says how it ended."""
    words = {
        Ending.LIVE: "is live, verified",
        Ending.ADOPTED: "was adopted as it is",
        Ending.UNDONE: "failed and was undone",
        Ending.FAILED: "failed",
        Ending.SKIPPED: "was skipped",
    }
    return f"{outcome.target} {words.get(outcome.ending, outcome.ending.value)}"


def counted(outcomes: Iterable[Outcome]) -> str:
    """Return how many targets ended how."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.ending.value] = counts.get(outcome.ending.value, 0) + 1
    return ", ".join(f"{count} {ending}" for ending, count in counts.items()) or "no targets"


def announce(outcome: Outcome) -> None:
    """Emit ``clodo.release.<ending>``, for automations."""
    emit_event(
        event=f"clodo.release.{outcome.ending.value}",
        resource={
            "prefect.resource.id": f"clodo.target.{outcome.target}",
            "prefect.resource.name": outcome.target,
        },
        payload=outcome.to_json(),
    )


def artifact_key(*parts: str) -> str:
    """Return a key as Prefect wants it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def _facts(outcome: Outcome) -> list[tuple[str, str | None]]:
    return [
        ("release", outcome.release_id),
        ("live version", outcome.version_id),
        ("version before", outcome.previous_version_id),
        ("seconds", f"{outcome.seconds:.1f}"),
    ]


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
