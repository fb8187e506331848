"""Private keys in files: in clear, or protected by a passphrase that Debian's age knows too."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys

import pyrage
import pytest

from clodo.backups.archive import seal, unseal
from clodo.backups.identity_files import identities, read_identity, write_identity
from clodo.errors import BadUsage, IdentityMissing
from tests.fixtures.programs import need

PASSPHRASE = "correct horse battery staple"


def on_a_terminal(words, *answers):
    """Run a program that asks on its terminal; return its status and all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(words[0], words)
    shown = b""
    waiting = list(answers)
    try:
        while True:
            shown += os.read(terminal, 4096)
            if waiting and shown.rstrip().endswith(b":"):
                os.write(terminal, waiting.pop(0).encode() + b"\n")
                shown += b"\n"
    except OSError:
        pass  # The terminal closes when the program ends.
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


@pytest.fixture(scope="module")
def protected(tmp_path_factory):
    """A protected identity, and an archive for it; scrypt takes a second each time."""
    folder = tmp_path_factory.mktemp("protected")
    public = write_identity(folder / "identity.txt.age", PASSPHRASE)
    seal([b"rows\n"], folder / "archive.age", [pyrage.x25519.Recipient.from_str(public)])
    return folder


def test_an_identity_is_never_written_over_another(tmp_path):
    """The file may be the only thing that opens the snapshots."""
    file = tmp_path / "identity.txt"
    public = write_identity(file)

    (key,) = identities(file.read_text())

    assert str(key.to_public()) == public
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BadUsage, match="is there already"):
        write_identity(file)


def test_a_key_that_is_none_is_refused_without_being_shown():
    """A line that is mistyped is not quoted."""
    with pytest.raises(BadUsage) as raised:
        identities("# a comment\nAGE-SECRET-KEY-1HUSH\n")

    assert "HUSH" not in str(raised.value)


def test_debians_age_opens_archives_with_an_identity_under_a_passphrase(protected, tmp_path):
    """`age -d -i identity.txt.age` asks for the passphrase on the terminal, then opens what was sealed."""
    need("age", "zstd")
    command = f"age -d -i {protected}/identity.txt.age {protected}/archive.age | zstd -d > {tmp_path}/plain"

    status, shown = on_a_terminal(["bash", "-o", "pipefail", "-c", command], PASSPHRASE)

    assert (status, (tmp_path / "plain").read_bytes()) == (0, b"rows\n"), shown


def test_what_can_not_be_opened_is_said(protected, tmp_path):
    """Nobody to ask, an empty passphrase, a file for another key, no file; a protected one is its owner's alone."""
    file = protected / "identity.txt.age"

    with pytest.raises(BadUsage, match="nobody can be asked"):
        read_identity(file, None)
    with pytest.raises(BadUsage, match="is empty"):
        write_identity(tmp_path / "empty", "")
    with pytest.raises(BadUsage, match="for another key"):
        read_identity(protected / "archive.age", lambda question: PASSPHRASE)
    with pytest.raises(BadUsage, match="can't be read"):
        read_identity(tmp_path / "none", None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"AGE-SECRET-KEY" not in file.read_bytes()


@pytest.mark.exhaustive
def test_the_passphrase_opens_it_and_another_does_not(protected):
    """With the right one the archive is read; a wrong one is told, and not repeated."""
    file = protected / "identity.txt.age"

    keys = identities(read_identity(file, lambda question: PASSPHRASE))

    assert b"".join(unseal([(protected / "archive.age").read_bytes()], keys)) == b"rows\n"
    with pytest.raises(IdentityMissing, match="does not open") as wrong:
        read_identity(file, lambda question: "another-4711")
    assert "another-4711" not in str(wrong.value)


@pytest.mark.exhaustive
def test_an_identity_that_debians_age_protected_is_read(tmp_path):
    """What `age -p` wrote is opened by the passphrase."""
    write_identity(tmp_path / "identity.txt")
    plain = (tmp_path / "identity.txt").read_text()
    words = ["age", "-p", "-o", str(tmp_path / "identity.age"), str(tmp_path / "identity.txt")]

    status, shown = on_a_terminal(words, PASSPHRASE, PASSPHRASE)

    assert status == 0, shown
    assert read_identity(tmp_path / "identity.age", lambda question: PASSPHRASE) == plain


@pytest.mark.exhaustive
def test_the_key_command_protects_the_file_by_what_is_piped_in(tmp_path):
    """`--passphrase` reads standard input where nobody sits, and wants a file to protect."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "wrangler.toml").write_text('name = "shop"\n')
    file = tmp_path / "identity.age"
    words = [sys.executable, "-m", "clodo.cli", "--workspace", str(tmp_path), "backup", "key", "--passphrase"]

    done = subprocess.run([*words, "--write", str(file)], input=f"{PASSPHRASE}\n", capture_output=True, text=True)
    refused = subprocess.run(words, input="", capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert identities(read_identity(file, lambda question: PASSPHRASE))
    assert (refused.returncode, PASSPHRASE in done.stdout + done.stderr) == (2, False)
