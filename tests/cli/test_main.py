"""The front door: fast, quiet about the inside, and exact about how it ended."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from clodo import errors
from clodo.cli.logs import sentence_of
from clodo.cli.main import BROKEN_PIPE, COMMANDS, explain, main
from clodo.errors import ClodoError, PlanIsStale
from clodo.settings import child_environment

CLODO = [sys.executable, "-c", "import sys; from clodo.cli.main import main; sys.exit(main())"]


def run(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLODO, *words], capture_output=True, text=True, check=False, cwd=folder)


def test_help_is_fast_and_imports_neither_prefect_nor_httpx():
    """Asking for help costs well under half a second, because nothing that a command needs is imported."""
    script = (
        "import sys; from clodo.cli.main import main; main(['--help']);"
        "print([name for name in sys.modules if name.partition('.')[0] in"
        " ('prefect', 'httpx', 'pydantic', 'sqlalchemy', 'structlog', 'rich')], file=sys.stderr)"
    )
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # It waits for nothing, so its processor time is what it takes on a machine with nothing else to do.
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert ended.stderr.strip() == "[]"
    assert "Commands:" in ended.stdout
    assert min(took) < 0.35


def test_help_names_every_command_and_every_exit_status():
    """The first thing anybody reads says what there is to say and how commands end."""
    shown = run("--help").stdout
    statuses = set(re.findall(r"\b\d+(?= [a-z])", " ".join(shown.partition("Exit status:")[2].split())))

    assert all(f"  {name} " in shown for name in COMMANDS)
    assert statuses == {"0", "1", "2", "3", "4", "5", "10", "11", "12", "75", "130"}


def test_the_version_is_that_of_the_package():
    """`clodo --version` says which Clodo this is."""
    assert run("--version").stdout.startswith("clodo 0.")


@pytest.mark.parametrize("words", [["frob"], ["release", "list", "--bogus"], ["release", "list", "--limit", "0"], []])
def test_wrong_words_are_a_usage_error(words):
    """What the command line doesn't know ends with status 2 and says what it does know."""
    ended = run(*words)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Usage: clodo" in ended.stderr
    assert "Traceback" not in ended.stderr


def _all_errors() -> list[type[ClodoError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ClodoError)]
    assert len(found) > 30
    return found


@pytest.mark.parametrize("kind", [kind for kind in _all_errors() if kind.__name__ != "ReleaseFailed"])
def test_every_fact_ends_with_its_own_status_and_one_sentence(kind, capsys):
    """Whatever the library raises on purpose is said in a line, with the hint in a second one."""
    status = explain(kind("shop: something is off", hint="Do something about it."))

    said = capsys.readouterr()
    assert status == kind.exit_code
    assert said.out == ""
    assert said.err == "Error: shop: something is off\nTry: Do something about it.\n"


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (typer.Abort(), 4, "nothing was done"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/ledger"),
            1,
            "No space left on the disk: /data/ledger",
        ),
        (OSError(errno.EADDRINUSE, "Address already in use"), 1, "port is in use"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), 2, "/data/x: Permission denied"),
    ],
)
def test_what_the_system_says_gets_a_name(error, status, words, capsys):
    """Errors of the system that an operator can do something about are no faults of ours."""
    assert explain(error) == status
    assert words in capsys.readouterr().err


def test_an_unforeseen_error_is_one_sentence_without_its_text(capsys):
    """A fault of ours ends with 1 and says where it was; its text might quote a secret, so it isn't shown."""

    def fault() -> None:
        raise RuntimeError("hush-81c2")

    with pytest.raises(RuntimeError) as caught:
        fault()

    assert explain(caught.value) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: Clodo met an unexpected RuntimeError at test_main.py:")
    assert "hush" not in said
    assert "Traceback" not in said


def test_debugging_shows_the_traceback_and_keeps_the_status(capsys):
    """--debug adds where it was raised; the sentence and the status stay."""
    try:
        raise PlanIsStale("shop: changed since")
    except PlanIsStale as error:
        status = explain(error, debug=True)

    said = capsys.readouterr().err
    assert status == 4
    assert "Traceback" in said
    assert "Error: shop: changed since" in said


def test_a_folder_without_services_is_bad_configuration(tmp_path):
    """A command that reads the workspace says which folder has nothing in it."""
    ended = run("portfolio", "graph", "--workspace", str(tmp_path))

    assert ended.returncode == 2
    assert str(tmp_path) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_workspace_may_be_named_before_or_after_the_command(tmp_path):
    """--workspace is the same option on both sides of the command's name; the nearer one counts."""
    before = run("--workspace", str(tmp_path), "portfolio", "graph", folder=Path("/"))
    after = run("--workspace", "/nowhere", "portfolio", "graph", "--workspace", str(tmp_path), folder=Path("/"))

    assert str(tmp_path) in before.stderr
    assert str(tmp_path) in after.stderr


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path):
    """When nobody reads the output any more, nothing is said and the status is the shell's own for that."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [*CLODO, "release", "list", "--json", "--workspace", str(tmp_path)]

    ended = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)

    assert ended.returncode == BROKEN_PIPE
    assert ended.stderr == ""


def test_ctrl_c_ends_with_130(tmp_path):
    """A command that is interrupted while it waits for something says so in one line."""
    with socket.socket() as silent_ledger:
        silent_ledger.bind(("127.0.0.1", 0))
        silent_ledger.listen()
        url = f"postgresql://clodo@127.0.0.1:{silent_ledger.getsockname()[1]}/clodo"
        words = [*CLODO, "release", "list", "-w", str(tmp_path)]
        environment = {**child_environment(), "CLODO_LEDGER_URL": url}
        with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as command:
            connection, _ = silent_ledger.accept()
            command.send_signal(signal.SIGINT)
            _, said = command.communicate(timeout=30)
            connection.close()

    assert (command.returncode, said) == (130, "Error: Interrupted.\n")


def test_ctrl_c_inside_a_library_is_an_interruption_too(capsys):
    """A library that Ctrl-C struck may fail with an error of its own; it ends with 130 all the same."""
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise TypeError("can't be serialised") from interrupt
    except TypeError as error:
        status = explain(error)

    assert (status, capsys.readouterr().err) == (130, "Error: Interrupted.\n")


def test_releases_are_listed_from_the_ledger(tmp_path, capsys):
    """`clodo release list` and `show` read the workspace's ledger; ids are short in tables and whole in JSON."""
    ids = _two_releases(tmp_path)

    assert main(["release", "list", "-w", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert main(["release", "list", "-w", str(tmp_path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert main(["release", "show", ids[0], "-w", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)

    assert [item["id"] for item in listed] == ids[::-1]
    assert ids[0] not in table
    assert {line.split()[0] for line in table.splitlines()[1:]} == {
        _shortest(ids[0], ids[1]),
        _shortest(ids[1], ids[0]),
    }
    assert [(step["step"], step["phase"]) for step in shown["steps"]] == [("upload", "intent"), ("upload", "done")]


def test_a_release_says_why_it_failed(tmp_path, capsys):
    """`clodo release show` tells what a step failed of, not only that it did."""
    from clodo.ledger.journal import Phase
    from clodo.ledger.ledger import Ledger, default_path

    ids = _two_releases(tmp_path)
    with Ledger.open(default_path(tmp_path)) as ledger:
        ledger.journal.append(ids[1], "smoke-test", Phase.FAILED, {"message": "GET /health answered 500"})

    assert main(["release", "show", ids[1], "-w", str(tmp_path)]) == 0

    assert "smoke-test failed: GET /health answered 500" in capsys.readouterr().out


def test_a_release_nobody_made_is_not_found(tmp_path, capsys):
    """`clodo release show` of an unknown id ends with 10."""
    assert main(["release", "show", "rNOBODY", "-w", str(tmp_path)]) == 10
    assert "rNOBODY" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("release", "list"), ("config", "history")])
def test_the_past_of_a_target_that_never_was_is_not_found(words, tmp_path, capsys):
    """A misspelt target is told, with the ones there are; what was released once is listed though it is gone."""
    _two_releases(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "wrangler.toml").write_text('name = "shop"\ncompatibility_date = "2026-01-01"\n')

    assert main([*words, "shpo", "-w", str(tmp_path)]) == 10
    misspelt = capsys.readouterr().err
    assert main([*words, "api", "-w", str(tmp_path)]) == 0
    assert main([*words, "shop", "-w", str(tmp_path)]) == 0

    assert "shpo@production: no such target" in misspelt
    assert "shop" in misspelt.partition("Try:")[2]


def test_a_wrong_choice_is_told_with_those_there_are(capsys):
    """The sentence holds the choices, and no words of the library that found it."""
    assert main(["database", "migrate", "api", "--which", "some"]) == 2

    said = capsys.readouterr().err
    assert "Invalid value for '--which': 'some' is not one of 'expand', 'contract', 'all'." in said


def test_a_nouns_help_says_whole_sentences(monkeypatch, capsys):
    """In a narrow terminal the list of verbs is folded, not cut off with dots."""
    monkeypatch.setenv("COLUMNS", "80")

    assert main(["emulator", "fault", "--help"]) == 0

    shown = capsys.readouterr().out
    assert "..." not in shown.partition("Commands:")[2]
    assert "or one of its versions only." in " ".join(shown.split())
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_a_repeated_request_is_told_in_a_sentence():
    """An operator reads why it takes longer, without the fields of a log."""
    event = {
        "event": "cloudflare retry",
        "method": "GET",
        "path": "/accounts/1/workers/scripts",
        "reason": "RateLimited",
        "wait_seconds": 5.25,
        "attempt": 1,
    }

    assert sentence_of(event) == "Waiting 5.2 s before GET /accounts/1/workers/scripts is tried again: RateLimited."
    assert sentence_of({"event": "something else"}) is None


def _two_releases(workspace: Path) -> list[str]:
    from datetime import UTC, datetime, timedelta

    from clodo.ledger.identifiers import new_release_id
    from clodo.ledger.journal import Phase
    from clodo.ledger.ledger import Ledger, default_path
    from clodo.ledger.releases import Release, ReleaseKind

    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ids = [new_release_id(now=began + timedelta(milliseconds=number)) for number in range(2)]
    with Ledger.open(default_path(workspace)) as ledger:
        for number, release_id in enumerate(ids):
            ledger.releases.create(
                Release(
                    id=release_id,
                    target="api@production",
                    worker="api",
                    account_id="0" * 32,
                    strategy="all-at-once",
                    reason="because",
                    actor="mia",
                    kind=ReleaseKind.REDEPLOY,
                    plan_fingerprint="f",
                    created_at=began + timedelta(milliseconds=number),
                )
            )
        ledger.journal.append(ids[0], "upload", Phase.INTENT)
        ledger.journal.append(ids[0], "upload", Phase.DONE)
    return ids


def _shortest(identifier: str, other: str) -> str:
    return next(identifier[:n] for n in range(8, 99) if not other.startswith(identifier[:n]))


def test_completion_still_works():
    """The shell's completion, which Typer brings, lists the commands."""
    environment = {
        **child_environment(),
        "_CLODO_COMPLETE": "complete_bash",
        "COMP_WORDS": "clodo rel",
        "COMP_CWORD": "1",
    }

    ended = subprocess.run(CLODO, env=environment, capture_output=True, text=True, check=False)

    assert ended.stdout.split() == ["release"]
