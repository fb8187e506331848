"""What a migration file says to Clodo in its comments: that it is a contract one, and which hazards are accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clodo.errors import BadConfiguration
from clodo.migrations.statements import LEXEMES

CONTRACT_MARK = "-- clodo: contract"
"""A file with this line above its first statement is a contract migration."""

WAIVER_MARK = "-- clodo: allow RULE: why"
"""Accepts what a rule of the lint finds in this file, with the reason."""

_MARK = re.compile(r"--\s*clodo\s*:\s*(.*?)\s*", re.IGNORECASE | re.DOTALL)
_WAIVER = re.compile(r"allow\s+(?P<rule>[a-z][a-z-]*)\s*(?::\s*(?P<reason>.*))?", re.IGNORECASE | re.DOTALL)
_KNOWN = ("contract", "allow")


@dataclass(frozen=True, slots=True)
class Waiver:
    """A rule whose findings in a file a person accepts, and why; *line* is counted from 1."""

    rule: str
    reason: str
    line: int


@dataclass(frozen=True, slots=True)
class Marks:
    """What a file's comments say."""

    is_contract: bool = False
    waivers: tuple[Waiver, ...] = ()


def read_marks(path: Path, sql: str) -> Marks:
    """
    Read the comments of *sql*, the text of *path*, that begin with ``-- clodo:``.

    Raises:
        BadConfiguration: One of them says something that Clodo doesn't know, or a waiver has no reason.
    """
    is_contract = False
    waivers: list[Waiver] = []
    for line, text, is_above in _comments(sql):
        said = _MARK.fullmatch(text)
        if said is None:
            continue
        words, place = said[1], f"{path}:{line}"
        if words.lower() == "contract":
            if not is_above:
                raise BadConfiguration(
                    f"{place}: {text.strip()!r} stands below a statement", hint="Move it above the first statement."
                )
            is_contract = True
        elif waiver := _WAIVER.fullmatch(words):
            if not (waiver["reason"] or "").strip():
                raise BadConfiguration(
                    f"{place}: {text.strip()!r}: a waiver needs a reason", hint=f"Write it like {WAIVER_MARK!r}."
                )
            waivers.append(Waiver(waiver["rule"].lower(), " ".join(waiver["reason"].split()), line))
        else:
            close = difflib.get_close_matches(words.lower().partition(" ")[0], _KNOWN, n=1)
            meant = {"contract": CONTRACT_MARK, "allow": WAIVER_MARK}
            raise BadConfiguration(
                f"{place}: {text.strip()!r}: Clodo knows no such mark",
                hint=f"Did you mean {meant[close[0]]!r}?"
                if close
                else f"There are {CONTRACT_MARK!r} and {WAIVER_MARK!r}.",
            )
    return Marks(is_contract, tuple(waivers))


def _comments(sql: str) -> Iterator[tuple[int, str, bool]]:
    """Yield each comment of one line, with its line and whether it stands above all statements."""
    if "clodo" not in sql.lower():
        return
    is_above = True
    line, counted_to = 1, 0
    for lexeme in LEXEMES.finditer(sql):
        if lexeme.lastgroup != "blank":
            is_above = False
        elif lexeme.group().startswith("--"):
            line += sql.count("\n", counted_to, lexeme.start())
            counted_to = lexeme.start()
            yield line, lexeme.group(), is_above
