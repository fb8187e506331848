"""How drills went over time, as a page: a table, and a line of bars for each measure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from clodo.ledger import DrillRecord

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """Return one bar a value, the largest one full; empty for no values."""
    largest = max(values, default=0.0)
    if largest <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[min(len(BARS) - 1, int(value / largest * len(BARS)))] for value in values)


def page(drills: Sequence[DrillRecord], objective: timedelta) -> str:
    """
    Return the page about *drills*, oldest first, as Markdown.

    Args:
        objective: How old the newest good snapshot may be.
    """
    if not drills:
        return "# No drill yet\n"
    last = drills[-1]
    good = [drill for drill in drills if drill.is_good]
    lines = [f"# Drill of {last.snapshot}: {'it comes back' if last.is_good else 'IT DOES NOT COME BACK'}", ""]
    if last.problem:
        lines += [_plain(last.problem), ""]
    lines += [
        "| measure | last | trend | largest |",
        "|---|---|---|---|",
        _row("restore takes (RTO)", [drill.rto_seconds for drill in good]),
        _row("would be lost (RPO)", [drill.rpo_seconds for drill in good]),
        "",
        f"Newest good snapshots may be {duration(objective.total_seconds())} old.",
        "",
        "| drill | snapshot | came back | restore takes | would be lost | rows and keys |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {drill.at:%Y-%m-%d %H:%M} UTC | `{drill.snapshot}` | {'yes' if drill.is_good else 'NO'}"
        f" | {duration(drill.rto_seconds)} | {duration(drill.rpo_seconds)} | {drill.items:,} |"
        for drill in reversed(drills)
    ]
    return "\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """Write a duration with its unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _row(name: str, values: Sequence[float]) -> str:
    if not values:
        return f"| {name} | - | - | - |"
    return f"| {name} | {duration(values[-1])} | {sparkline(values)} | {duration(max(values))} |"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
