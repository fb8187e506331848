"""What a build command does, as far as its words show: which scripts it runs, and whether it would deploy."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

_SEPARATORS = re.compile(r"&&|\|\||[;|&\n()]")
_RUNNERS = ("npm", "pnpm", "yarn", "bun")
_RUN = ("run", "run-script", "rum", "urn")
_DEPLOYING = frozenset({"deploy", "publish", "versions", "rollback", "delete"})


def deploying_command(command: str, scripts: Mapping[str, str]) -> tuple[str, ...] | None:
    """
    Return the chain of commands by which *command* would call ``wrangler deploy`` or the like; None when it doesn't.

    Args:
        command: Shell text.

        scripts: The package's scripts, which ``npm run`` follows.
    """
    return _find(command, scripts, ())


def calls_wrangler(command: str, scripts: Mapping[str, str]) -> bool:
    """Whether *command*, or a script it runs, calls wrangler or clodo at all."""
    pending, seen = [command], {command}
    while pending:
        for words in _simple_commands(pending.pop()):
            if any(_program(word) in ("wrangler", "clodo") for word in words):
                return True
            for script in _scripts_run(words, scripts):
                if script not in seen:
                    seen.add(script)
                    pending.append(script)
    return False


def _find(command: str, scripts: Mapping[str, str], above: tuple[str, ...]) -> tuple[str, ...] | None:
    if command in above:
        return None
    chain = (*above, command)
    for words in _simple_commands(command):
        for index, word in enumerate(words):
            if _program(word) in ("wrangler", "clodo") and _DEPLOYING.intersection(words[index + 1 :]):
                return chain
        for script in _scripts_run(words, scripts):
            found = _find(script, scripts, chain)
            if found is not None:
                return found
    return None


def _simple_commands(command: str) -> Iterator[list[str]]:
    for part in _SEPARATORS.split(command):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            # A quote that the separators cut in two: plain words are enough to look at.
            words = part.replace('"', " ").replace("'", " ").split()
        # `sh -c "wrangler deploy"` hides the words in one.
        yield [inner for word in words for inner in (word.split() if " " in word else [word])]


def _program(word: str) -> str:
    """Return the program a word names: ``./node_modules/.bin/wrangler`` and ``wrangler@4`` are both wrangler."""
    return word.rpartition("/")[2].split("@", 1)[0].removesuffix(".cmd").removesuffix(".js")


def _scripts_run(words: list[str], scripts: Mapping[str, str]) -> Iterator[str]:
    for index, word in enumerate(words):
        program = _program(word)
        rest = [other for other in words[index + 1 :] if not other.startswith("-")]
        if program in _RUNNERS and rest:
            names = rest[1:2] if rest[0] in _RUN else rest[:1]
        elif program == "node" and "--run" in words[index:]:
            names = rest[:1]
        else:
            continue
        for name in names:
            yield from (scripts[key] for key in (f"pre{name}", name, f"post{name}") if key in scripts)
