"""No command of wrangler that talks to the API is left out: which ones the tests run is read from their source."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

#: Those of the reference, as `wrangler --help` of 4.164 names them.
COMMANDS = frozenset(
    """
    whoami | deploy | delete | rollback | tail | triggers deploy
    versions upload | versions deploy | versions list | versions view
    versions secret put | versions secret bulk | versions secret delete | versions secret list
    deployments list | deployments status
    secret put | secret bulk | secret list | secret delete
    d1 create | d1 list | d1 info | d1 insights | d1 delete | d1 execute | d1 export
    d1 migrations list | d1 migrations apply | d1 time-travel info | d1 time-travel restore
    kv namespace create | kv namespace list | kv namespace rename | kv namespace delete
    kv key put | kv key get | kv key list | kv key delete | kv bulk put | kv bulk get | kv bulk delete
    r2 bucket create | r2 bucket list | r2 bucket info | r2 bucket delete
    r2 object put | r2 object get | r2 object delete
    queues create | queues list | queues info | queues update | queues delete | queues purge
    queues pause-delivery | queues resume-delivery | queues consumer add | queues consumer remove
    pages project create | pages project list | pages project delete | pages deploy | pages deployment list
    """.replace("\n", "|").split("|")
)


def words_run(source: str) -> Iterator[tuple[str, ...]]:
    """Yield the leading words of each wrangler command in a test module; `*words` of a loop over tuples is opened."""
    tree = ast.parse(source)
    loops = {node.target.id: node.iter for node in ast.walk(tree) if _is_loop(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in ("run", "attempt", "command"):
            continue
        words = _constants(node.args)
        rest = node.args[len(words) :]
        if rest and isinstance(rest[0], ast.Starred) and isinstance(rest[0].value, ast.Name):
            choices = getattr(loops.get(rest[0].value.id), "elts", [])
            yield from ((*words, *_constants(choice.elts)) for choice in choices if isinstance(choice, ast.Tuple))
        if words:
            yield words


def _is_loop(node: ast.AST) -> TypeGuard[Any]:
    return isinstance(node, (ast.For, ast.comprehension)) and isinstance(node.target, ast.Name)


def _constants(nodes: list[ast.expr]) -> tuple[str, ...]:
    """Return the strings that *nodes* begin with."""
    return tuple(
        str(node.value)
        for node in itertools.takewhile(
            lambda node: isinstance(node, ast.Constant) and isinstance(node.value, str), nodes
        )
        if isinstance(node, ast.Constant)
    )


def test_every_command_of_the_reference_is_run() -> None:
    """Each command that the reference lists is run somewhere below tests/emulator, by the unmodified wrangler."""
    commands = {command.strip() for command in COMMANDS if command.strip()}
    run: set[str] = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        for words in words_run(path.read_text()):
            run |= {" ".join(words[:length]) for length in (1, 2, 3)}

    assert sorted(commands - run) == []
    assert len(commands) >= 55
