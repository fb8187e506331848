"""What a person or a script sees: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clodo.errors import Refused

if TYPE_CHECKING:
    from questionary import Question

SHORT_ID = 8
GAP = 2


def say(text: str) -> None:
    """Narrate on standard error."""
    print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print a result on standard output."""
    print(text, flush=True)


def show_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one JSON document on standard output; ids stay whole."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str), flush=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """
    Print *rows* under *columns*: drawn on a terminal, aligned words otherwise.

    On a terminal that is too narrow each row is a list of its cells: names and places are copied from there, so nothing
    may be cut off.

    Args:
        columns: Headings.

        rows: One cell per column; None is shown as a dash.

        empty: What to say instead of a table without rows.
    """
    if not rows:
        show(empty)
        return
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw_table(columns, cells)
        return
    lines = [[column.upper() for column in columns], *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        show("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _draw_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    words = [[word for line in (columns, *cells) for word in line[index].split()] for index in range(len(columns))]
    narrowest = sum(max(map(len, found), default=0) for found in words) + GAP * len(columns)
    if narrowest > console.width:
        indent = max(map(len, columns)) + GAP
        for row in cells:
            lines = [f"{name:<{indent}}{cell}" for name, cell in zip(columns, row, strict=True) if cell != "-"]
            show("\n".join(lines) + "\n")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, GAP - 1, 0, 0))
    for name, found in zip(columns, words, strict=True):
        table.add_column(name, min_width=max(map(len, found), default=0))
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def short(identifier: str | None, *, among: Iterable[str] = ()) -> str | None:
    """
    Shorten an id for a table; JSON shows it whole.

    Args:
        among: Other ids that must stay told apart from it: ids that begin with a time begin alike.
    """
    if identifier is None:
        return None
    others = [other for other in among if other != identifier]
    length = SHORT_ID
    while length < len(identifier) and any(other.startswith(identifier[:length]) for other in others):
        length += 1
    return identifier[:length]


def moment(time: datetime | None) -> str | None:
    """Write a time for a table: UTC, to the second."""
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def number_of(things: int, noun: str) -> str:
    """Say how many there are of *noun*: ``1 migration``, ``2,000 migrations``."""
    return f"{things:,} {noun}" if things == 1 else f"{things:,} {noun}s"


def has_terminal() -> bool:
    """Say whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, *, yes: bool) -> None:
    """
    Ask before something that can't be taken back; *yes* answers it.

    Raises:
        Refused: The answer was no, or there is no terminal to ask on.
    """
    if yes:
        return
    raise_if_nobody_can_be_asked(question)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if answer.strip().lower() not in ("y", "yes"):
        raise Refused("Declined; nothing was done.")


def raise_if_nobody_can_be_asked(question: str) -> None:
    """
    Find out before anything is begun that *question* would have nobody to answer it.

    Raises:
        Refused: There is no terminal.
    """
    if not has_terminal():
        raise Refused(f"{question} Nobody can be asked without a terminal.", hint="Add --yes to answer it.")


def choose(question: str, choices: Sequence[str]) -> list[str]:
    """
    Let a person tick some of *choices*; at least one.

    Raises:
        Refused: There is no terminal, or nothing was chosen.
    """
    if not has_terminal():
        raise Refused("Nobody can choose without a terminal.", hint="Name the targets instead of --interactive.")
    import questionary

    chosen = answer_to(questionary.checkbox, question, choices=list(choices))
    if not chosen:
        raise Refused("Nothing was chosen; nothing was done.")
    return [str(choice) for choice in chosen]


def answer_to(prompt: Callable[..., Question], question: str, **how: Any) -> Any:
    """
    Return what a person answers to one of questionary's prompts.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, in the prompt or just before or after it.
    """
    from prompt_toolkit.output import create_output

    # Standard output is for results. Left to itself, the prompt takes SIGINT for a key, and one that comes while it
    # ends is lost.
    asked = prompt(question, **how, output=create_output(stdout=sys.stderr))
    return asked.application.run(handle_sigint=False)


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, float], None]]:
    """
    Show how far something is on standard error: a bar on a terminal, a line per step otherwise.

    Gives:
        A function that takes what is being done and the share that is done, 0 to 1.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=1.0)

            def draw(step: str, share: float) -> None:
                bar.update(task, description=f"{title}: {step}" if step else title, completed=share)

            yield draw
        return
    last = ""

    def tell(step: str, share: float) -> None:
        nonlocal last
        if step and step != last:
            last = step
            say(f"{title}: {step} ({share:.0%})")

    say(f"{title} …")
    yield tell
