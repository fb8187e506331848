"""Several files are written, all or none, and put back when what follows fails."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clodo.errors import BadConfiguration, LockHeld, PlanIsStale, UndoIncomplete
from clodo.workspace.editing import (
    FileEdit,
    SetVariables,
    applied,
    apply,
    edit_config,
    edit_of,
    interrupted_files,
    take_back_interrupted,
    undo,
)

ONE = 'name = "one" # first\n'
TWO = '{ "name": "two" }\n'


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    one, two = tmp_path / "one" / "wrangler.toml", tmp_path / "two" / "wrangler.json"
    for file, text in ((one, ONE), (two, TWO)):
        file.parent.mkdir()
        file.write_text(text, encoding="utf-8")
    return one, two


def edits_of(*files: Path) -> list[FileEdit]:
    return [edit_config(file, [SetVariables(None, {"A": "1"})]) for file in files]


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.clodo-new"))


def test_edits_are_written_and_stay(files, tmp_path):
    """What the edits say is on the disk afterwards, and nothing else."""
    with applied(edits_of(*files), state_dir=tmp_path):
        pass

    assert files[0].read_text() == ONE + '\n[vars]\nA = "1"\n'
    assert files[1].read_text() == '{ "name": "two", "vars": {"A": "1"} }\n'
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("trouble", [RuntimeError("boom"), KeyboardInterrupt()])
def test_a_later_failure_puts_every_byte_back(files, tmp_path, trouble):
    """When a step after the edits fails, or a person interrupts it, the files are as before; new ones are gone."""
    fresh = tmp_path / "config" / "customers" / "acme" / "production.env"
    edits = [*edits_of(*files), edit_of(fresh, b"CUSTOMER_ID=1\n")]
    seen: list[bytes] = []

    def fail() -> None:
        with applied(edits, state_dir=tmp_path):
            seen.append(fresh.read_bytes())
            raise trouble

    with pytest.raises(type(trouble)):
        fail()

    assert seen == [b"CUSTOMER_ID=1\n"]
    assert (files[0].read_text(), files[1].read_text(), fresh.exists()) == (ONE, TWO, False)
    assert not leftovers(tmp_path)


def test_a_file_that_changed_since_it_was_read_stops_all_of_them(files):
    """Two people at once: the second is refused, and no file of theirs is written."""
    edits = edits_of(*files)
    files[1].write_text('{ "name": "theirs" }\n', encoding="utf-8")

    with pytest.raises(PlanIsStale, match=r"two/wrangler\.json: changed since it was read"):
        apply(edits)

    assert files[0].read_text() == ONE
    assert files[1].read_text() == '{ "name": "theirs" }\n'


def test_a_file_that_appeared_in_the_meantime_is_not_overwritten(tmp_path):
    """A new file whose name somebody else took is refused."""
    edit = edit_of(tmp_path / "new.env", b"MINE=1\n")
    (tmp_path / "new.env").write_bytes(b"THEIRS=1\n")

    with pytest.raises(PlanIsStale):
        apply([edit])

    assert (tmp_path / "new.env").read_bytes() == b"THEIRS=1\n"


def test_what_somebody_else_changed_is_not_undone(files):
    """Undo keeps its hands off a file that was changed after us, and says which."""
    written = apply(edits_of(*files))
    files[1].write_text('{ "name": "theirs" }\n', encoding="utf-8")

    with pytest.raises(UndoIncomplete, match=r"two/wrangler\.json"):
        undo(written)

    assert files[0].read_text() == ONE
    assert files[1].read_text() == '{ "name": "theirs" }\n'


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(files, tmp_path):
    """The mode is the old one, and what a link leads to is written, not the link."""
    files[0].chmod(0o640)
    link = tmp_path / "wrangler.toml"
    link.symlink_to(files[0])

    apply(edits_of(link))

    assert link.is_symlink()
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o640
    assert files[0].read_text().endswith('A = "1"\n')


def test_a_read_only_file_is_refused(files):
    """Whoever took the right to write away meant it."""
    files[0].chmod(0o444)

    with pytest.raises(BadConfiguration, match="is read-only"):
        apply(edits_of(files[0]))

    assert files[0].read_text() == ONE


def test_a_folder_where_a_file_should_be_is_one_sentence(tmp_path):
    """What can't be read is named with the reason."""
    with pytest.raises(BadConfiguration, match="can't be read"):
        edit_of(tmp_path, b"")


def test_links_that_lead_in_a_circle_are_one_sentence(tmp_path):
    """A circle of links can't be read, and says so."""
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    with pytest.raises(BadConfiguration, match="can't be read"):
        edit_of(tmp_path / "a", b"")


def test_the_diff_is_a_unified_one_with_names_from_the_workspace(files, tmp_path):
    """A person sees what changes in the form that they know, also at the end of a file without a newline."""
    files[1].write_text('{ "name": "two" }', encoding="utf-8")
    edits = [*edits_of(*files), edit_of(tmp_path / "new.env", b"A=1\n"), FileEdit(tmp_path / "old.env", b"B=1\n", None)]

    shown = "".join(edit.diff(tmp_path) for edit in edits)

    assert (
        '--- a/one/wrangler.toml\n+++ b/one/wrangler.toml\n@@ -1 +1,4 @@\n name = "one" # first\n+\n+[vars]\n' in shown
    )
    assert "\\ No newline at end of file\n" in shown
    assert "--- /dev/null\n+++ b/new.env\n" in shown
    assert "--- a/old.env\n+++ /dev/null\n" in shown


WRITER = """
import sys
from pathlib import Path
from clodo.errors import PlanIsStale
from clodo.workspace.editing import SetVariables, apply, edit_config
file, name = Path(sys.argv[1]), sys.argv[2]
done = 0
for number in range(10):
    while True:
        try:
            apply([edit_config(file, [SetVariables(None, {f"{name}_{number}": "x"})])])
            break
        except PlanIsStale:
            continue
"""


def test_two_people_editing_lose_nothing_of_each_other(files):
    """Two processes that write the same file at the same time, each again when refused, end with both their changes."""
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(files[0]), name], env=dict(os.environ)) for name in "AB"
    ]

    ended = [process.wait(timeout=60) for process in started]

    assert ended == [0, 0]
    assert files[0].read_text().count('= "x"') == 20


DYING = """
import os, signal, sys
from pathlib import Path
from clodo.workspace.editing import SetVariables, applied, apply, edit_config, edit_of
from clodo.workspace.editing.interrupted import remembered
state, one, two, new, when = *map(Path, sys.argv[1:5]), sys.argv[5]
edits = [edit_config(file, [SetVariables(None, {"A": "1"})]) for file in (one, two)] + [edit_of(new, b"A=1")]
(one.parent / f".{one.name}.0.clodo-new").write_text("half")
if when == "in the body":
    with applied(edits, state_dir=state):
        os.kill(os.getpid(), signal.SIGKILL)
with remembered(edits, state):
    apply(edits[:1])
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["between two files", "in the body"])
def test_what_a_killed_process_left_is_taken_back_by_the_next_edit(files, tmp_path, when):
    """After kill -9 the next edit finds every file as it was before, and no half-written one."""
    new = tmp_path / "new.env"
    words = [str(tmp_path), *map(str, files), str(new), when]
    ended = subprocess.run([sys.executable, "-c", DYING, *words], check=False)
    left = interrupted_files(tmp_path)

    taken_back = take_back_interrupted(tmp_path)

    assert ended.returncode == -9
    assert left == (*files, new)
    assert set(taken_back) == ({files[0]} if when == "between two files" else {*files, new})
    assert (files[0].read_text(), files[1].read_text(), new.exists()) == (ONE, TWO, False)
    assert not leftovers(tmp_path)
    assert interrupted_files(tmp_path) == take_back_interrupted(tmp_path) == ()


def test_what_was_edited_after_a_kill_is_named_and_stays(files, tmp_path):
    """A file that somebody edited since is not overwritten; the others are put back, and it is said once."""
    words = [str(tmp_path), *map(str, files), str(tmp_path / "new.env"), "in the body"]
    subprocess.run([sys.executable, "-c", DYING, *words], check=False)
    files[0].write_text("theirs = true\n")

    with pytest.raises(UndoIncomplete, match=r"one/wrangler\.toml was changed since"):
        take_back_interrupted(tmp_path)

    assert (files[0].read_text(), files[1].read_text()) == ("theirs = true\n", TWO)
    assert take_back_interrupted(tmp_path) == ()


def test_two_edits_at_once_are_one_too_many(files, tmp_path):
    """While one edit waits for its next step, another one is told that somebody is at it."""
    with applied(edits_of(files[0]), state_dir=tmp_path), pytest.raises(LockHeld), applied([], state_dir=tmp_path):
        pass

    assert files[0].read_text() != ONE
