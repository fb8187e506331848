"""What a person or a script sees."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from clodo.cli import output
from clodo.cli.outcomes import show_outcomes
from clodo.cli.reconcile import PUT_RIGHT
from clodo.errors import Refused
from clodo.releases.outcome import Ending, Outcome


@pytest.fixture(autouse=True)
def able_terminal(monkeypatch):
    """What a terminal can do is not asked of the one that runs the tests."""
    monkeypatch.setenv("TERM", "xterm")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_without_a_terminal_is_aligned_words(capsys):
    """A script or a log gets plain lines: no frames, no colours, nothing cut off."""
    output.show_table(("name", "state"), [("api@production", "live"), ("w", None)], empty="None.")

    assert capsys.readouterr().out == "NAME            STATE\napi@production  live\nw               -\n"


def test_a_table_without_rows_says_so(capsys):
    """Nothing to show is said, not shown as an empty frame."""
    output.show_table(("name",), [], empty="No releases yet.")

    assert capsys.readouterr().out == "No releases yet.\n"


def test_a_table_on_a_terminal_shows_text_as_it_is(monkeypatch):
    """On a terminal the same cells are drawn, and brackets in them are no markup."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)

    output.show_table(("name",), [("[bold]api",)], empty="None.")

    assert "[bold]api" in terminal.getvalue()


@pytest.mark.parametrize("width", [30, 45, 60, 80, 200])
def test_nothing_of_a_table_is_cut_off_in_a_narrow_terminal(width, monkeypatch):
    """Whatever the width, each name, place and word can be read and copied whole; rows that don't fit become lists."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    row = ("web@production", "web/wrangler.toml:4", "workers_dev is on, and everybody may look at it")

    output.show_table(("target", "place", "what"), [row, ("api", "-", "-")], empty="None.")

    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert {word for cell in row for word in cell.split()} <= set(shown.split())
    assert "…" not in shown
    drawn = max(len(line) for line in shown.splitlines())
    assert drawn <= width or all(line.startswith(("target", "place", "what")) for line in shown.split("\n") if line)


def test_json_keeps_ids_whole_and_is_one_document(capsys):
    """Standard output is one JSON document, umlauts as they are."""
    output.show_json({"id": "r0123456789abcdef", "name": "Grün"})

    shown = capsys.readouterr().out
    assert json.loads(shown) == {"id": "r0123456789abcdef", "name": "Grün"}
    assert "Grün" in shown


@pytest.mark.parametrize(
    ("things", "said"), [(0, "0 migrations"), (1, "1 migration"), (2, "2 migrations"), (2000, "2,000 migrations")]
)
def test_one_thing_is_not_told_as_many(things, said):
    """One is one, everything else is many, and thousands are easy to read."""
    assert output.number_of(things, "migration") == said


def test_ids_stay_told_apart_when_shortened():
    """Ids that begin alike, because they begin with a time, are shortened only so far."""
    ids = ["r01ABCDEF1xyz", "r01ABCDEF2xyz"]

    assert [output.short(item, among=ids) for item in ids] == ["r01ABCDEF1", "r01ABCDEF2"]
    assert output.short("0123456789") == "01234567"
    assert output.short(None) is None


def test_nobody_is_asked_without_a_terminal(capsys):
    """Without a terminal and without --yes the answer is no, and what to add is said."""
    with pytest.raises(Refused, match="terminal") as caught:
        output.ask("Roll api back?", yes=False)

    assert caught.value.exit_code == 4
    assert "--yes" in (caught.value.hint or "")
    output.ask("Roll api back?", yes=True)


@pytest.mark.parametrize(
    ("answer", "goes_on"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_only_a_yes_is_a_yes(answer, goes_on, monkeypatch):
    """Anything but a yes, the end of the input too, declines."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", Terminal())

    if goes_on:
        output.ask("Roll api back?", yes=False)
    else:
        with pytest.raises(Refused, match="Declined"):
            output.ask("Roll api back?", yes=False)


def test_choosing_needs_a_terminal():
    """--interactive where nobody sits is refused, with the remedy."""
    with pytest.raises(Refused) as caught:
        output.choose("Which?", ["api@production"])

    assert "--interactive" in (caught.value.hint or "")


def test_one_chooses_with_the_keyboard():
    """On a terminal the targets are listed; space ticks, enter ends."""
    script = "from clodo.cli.output import choose; print('chosen', choose('Which?', ['api@production', 'web@staging']))"
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], stdin=theirs, stdout=theirs, stderr=theirs) as command:
        os.close(theirs)
        seen = read_until(ours, b"web@staging")
        os.write(ours, b"\x1b[B \r")
        seen += read_until(ours, b"chosen ['web@staging']")
        assert command.wait(timeout=20) == 0
    os.close(ours)

    assert b"api@production" in seen
    assert b"chosen ['web@staging']" in seen


def read_until(terminal: int, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        piece = os.read(terminal, 4096)
        assert piece, seen
        seen += piece
        if b"\x1b[6n" in piece:
            # The prompt asks the terminal where its cursor is, and waits for an answer.
            os.write(terminal, b"\x1b[1;1R")
    return seen


def test_progress_without_a_terminal_is_a_line_per_step(capsys):
    """A log gets one line when something begins and one per step, not one per tick."""
    with output.progress("Installing") as report:
        report("wrangler", 0.1)
        report("wrangler", 0.2)
        report("workerd", 0.9)

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["Installing …", "Installing: wrangler (10%)", "Installing: workerd (90%)"]


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    """A person sees how far it is."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    with output.progress("Installing") as report:
        report("wrangler", 0.5)

    assert "Installing" in terminal.getvalue()


def test_undoing_is_what_reconcile_is_for(capsys):
    """A release that was undone is a failure of `clodo deploy` and a success of `clodo reconcile`."""
    undone = [Outcome(target="api@production", ending=Ending.UNDONE, release_id="r1")]

    said = []
    for also_ok in ((), PUT_RIGHT):
        show_outcomes(undone, as_json=True, also_ok=also_ok)
        said.append(json.loads(capsys.readouterr().out)["ok"])

    assert said == [False, True]
