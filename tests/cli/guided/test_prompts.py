"""Prompts, on a pipe instead of a terminal: what happens at one moment of them."""

from __future__ import annotations

import os
import signal

import pytest
import questionary
from prompt_toolkit.input import create_pipe_input

from clodo.cli.output import answer_to


def test_a_ctrl_c_that_comes_as_a_prompt_ends_is_not_lost():
    """While the answer is taken the terminal makes a signal of Ctrl-C already; whoever pressed it wants to end."""

    def interrupted(text: str) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return True

    with create_pipe_input() as keys:
        keys.send_text("LEVEL=debug\r")
        with pytest.raises(KeyboardInterrupt):
            answer_to(questionary.text, "NAME=VALUE to set", validate=interrupted, input=keys)


def test_a_prompt_gives_what_was_typed():
    """The line, without its end."""
    with create_pipe_input() as keys:
        keys.send_text("LEVEL=debug\r")

        assert answer_to(questionary.text, "NAME=VALUE to set", input=keys) == "LEVEL=debug"
