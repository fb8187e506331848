"""Owners of locks."""

import subprocess
import sys
from dataclasses import replace

from clodo.ledger import Owner
from clodo.ledger.owners import process_started_at

WAIT_FOR_INPUT = [sys.executable, "-c", "input()"]


def owner_of(pid):
    return replace(Owner.current("test"), pid=pid, process_started_at=process_started_at(pid))


def test_this_process_is_not_gone():
    """The owner that describes us says that we live, and reads well."""
    owner = Owner.current("deploy api@production")

    assert not owner.is_gone()
    assert f"process {owner.pid}, deploy api@production" in str(owner)


def test_a_process_that_ended_is_gone():
    """An owner is gone once its process has ended, reaped or not."""
    process = subprocess.Popen(WAIT_FOR_INPUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    owner = owner_of(process.pid)
    assert not owner.is_gone()

    process.kill()
    # Its end of the pipe closes when the process is dead; nobody has waited for it yet, so it is a zombie.
    process.stdout.read()

    while process_started_at(process.pid) is not None:
        pass
    assert owner.is_gone()
    process.wait()
    assert owner.is_gone()


def test_another_process_with_the_same_number_is_not_the_owner():
    """A process id that was given out again doesn't bring the owner back."""
    owner = replace(Owner.current("test"), process_started_at="1")

    assert owner.is_gone()


def test_nothing_is_known_of_another_machines_processes():
    """A process of another machine, or of one that can't be told, is never proven gone."""
    gone = replace(Owner.current("test"), process_started_at="1")

    assert not replace(gone, machine="0123456789abcdef").is_gone()
    assert not replace(gone, machine="").is_gone()
    assert not replace(gone, process_started_at="").is_gone()
