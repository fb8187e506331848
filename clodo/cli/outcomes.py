"""How releases ended, shown to a person or a script; the same for every command that releases something."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from clodo.cli.output import show, show_json, show_table

if TYPE_CHECKING:
    from clodo.releases.outcome import Outcome

CHANGES_PENDING = 5


def show_outcomes(
    outcomes: Sequence[Outcome],
    *,
    as_json: bool,
    dry_run: bool = False,
    also_ok: Collection[str] = (),
    with_messages: bool = True,
) -> None:
    """
    Print how each target ended, and one line that counts.

    Args:
        also_ok: Endings that are what the command was for, beside the successes: undoing, for one that undoes.

        with_messages: Whether the table says why; False when an error that follows does.

    JSON: {"ok", "dry_run", "targets": [{"target", "ending", "release_id", "version_id", "previous_version_id",
    "changes", "message", "hint", "tests", "seconds"}]}.
    """
    if as_json:
        wanted = {*also_ok, "planned"} if dry_run else set(also_ok)
        done = all(outcome.is_success or outcome.ending in wanted for outcome in outcomes)
        show_json({"ok": done, "dry_run": dry_run, "targets": [outcome.to_json() for outcome in outcomes]})
        return
    rows = [
        (
            outcome.target,
            "would change" if outcome.ending == "planned" else outcome.ending,
            outcome.version_id and outcome.version_id[:8],
            f"{outcome.seconds:.1f} s" if outcome.seconds else None,
            "; ".join(part for part in (*outcome.changes, _message(outcome) if with_messages else "") if part) or None,
        )
        for outcome in outcomes
    ]
    show_table(("target", "ending", "version", "took", "what"), rows, empty="No targets.")
    show(counted(outcomes, dry_run=dry_run))


def counted(outcomes: Sequence[Outcome], *, dry_run: bool) -> str:
    """Return the closing line."""
    total = _targets(len(outcomes))
    if dry_run:
        pending = sum(1 for outcome in outcomes if outcome.ending == "planned")
        return f"{pending} of {total} would change; nothing was written." if pending else f"Nothing to do for {total}."
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.ending] = counts.get(outcome.ending, 0) + 1
    return f"Finished {total}: " + ", ".join(f"{count} {ending}" for ending, count in counts.items()) + "."


def exit_if_pending(outcomes: Sequence[Outcome], *, wanted: bool) -> None:
    """End with 5 when a dry run found something to do and the caller asked to be told so."""
    if wanted and any(outcome.ending == "planned" for outcome in outcomes):
        raise typer.Exit(CHANGES_PENDING)


@contextmanager
def shown_when_failing(*, as_json: bool) -> Iterator[None]:
    """
    Show how the targets ended before the error that says that not all are as desired.

    Why is said once: of one target by the error, of several in the table.
    """
    from clodo.releases.rollout import RolloutFailed

    try:
        yield
    except RolloutFailed as error:
        is_one = len(error.outcomes) == 1
        show_outcomes(error.outcomes, as_json=as_json, with_messages=not is_one)
        if is_one or as_json:
            raise
        raise RolloutFailed(error.outcomes, with_reason=False) from error


def as_list(found: Outcome | Sequence[Outcome]) -> list[Outcome]:
    """Return one outcome or several as a list."""
    return list(found) if isinstance(found, list | tuple) else [found]  # type: ignore[list-item]


def run_flow(flow: Callable[..., Outcome | list[Outcome]], *, as_json: bool, **parameters: object) -> list[Outcome]:
    """Run *flow* in this process and return its outcomes; a failed rollout is shown before it is raised."""
    with shown_when_failing(as_json=as_json):
        return as_list(flow(**parameters))


def _message(outcome: Outcome) -> str:
    return outcome.message.removeprefix(f"{outcome.target}: ")


def _targets(count: int) -> str:
    return "1 target" if count == 1 else f"{count} targets"
