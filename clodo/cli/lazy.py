"""A command group that imports a command's module only when that command is asked for."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from clodo.errors import Interrupted


class ReaderGone(Exception):
    """Nobody reads our standard output any more."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """
    Where a command is written, and what the list of commands says about it.

    Attributes:
        module: Dotted name, like ``clodo.cli.deploy``.

        attribute: In it, a function (one command) or a ``typer.Typer`` (a noun with verbs).

        help: Its line in ``clodo --help``.
    """

    module: str
    attribute: str
    help: str


class PlainGroup(TyperGroup):
    """A noun's list of verbs that says each one's whole first sentence, where Typer cuts it off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(command)) for name, command in found if command is not None]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _first_sentence(command: Any) -> str:
    paragraph = " ".join((command.short_help or command.help or "").strip().partition("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]


def lazy_group(commands: Mapping[str, Lazy]) -> type[TyperGroup]:
    """Return a group class that knows *commands* by name and imports each on demand."""

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            command = commands.get(cmd_name)
            return None if command is None else load(cmd_name, command)

        def make_context(self, *arguments: Any, **named: Any) -> Any:
            with _named_as_ours():
                return super().make_context(*arguments, **named)

        def invoke(self, ctx: Any) -> Any:
            with _named_as_ours():
                result = super().invoke(ctx)
                sys.stdout.flush()
                return result

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            # Typer's own would load every command to ask it for its first line.
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.help) for name, command in commands.items()])

    return LazyGroup


@contextmanager
def _named_as_ours() -> Iterator[None]:
    """Keep from Typer what it would swallow: Ctrl-C without a word, a closed pipe as status 1."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted("Interrupted.") from error
    except BrokenPipeError as error:
        raise ReaderGone from error


def load(name: str, command: Lazy) -> Any:
    """Import *command* and return it as Typer runs it."""
    found = getattr(importlib.import_module(command.module), command.attribute)
    if isinstance(found, typer.Typer):
        _speak_plainly(found)
        group = get_group(found)
        group.name = name
        return group
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(found)
    return get_command(single)


def _speak_plainly(app: typer.Typer) -> None:
    """Show help as it is written: rich takes a tenth of a second to import, and joins our lines."""
    app.rich_markup_mode = None
    app.info.cls = PlainGroup
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _speak_plainly(group.typer_instance)
