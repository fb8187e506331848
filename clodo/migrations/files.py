"""Migration files: found, ordered and read as wrangler finds and orders them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clodo.errors import BadConfiguration
from clodo.migrations.marks import Waiver, read_marks
from clodo.migrations.statements import Statement, split

DOWN = ".down.sql"
"""How the file ends that undoes the migration of the same name."""

DOWN_FOLDER = "down"
"""Where down files may lie too: beside the migrations, wrangler's own `migrations apply` takes them for migrations."""

TRANSACTION_WORDS = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"})

# Source: https://developers.cloudflare.com/d1/platform/limits/
MAX_STATEMENT_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Migration:
    """
    One migration file.

    Attributes:
        name: As ``d1_migrations`` has it: relative to the folder, with ``.sql`` and forward slashes.

        path: The file.

        number: The digits the name opens with; None without.

        sql: Its text.

        sha256: Of its text, its line ends made LF, so that a checkout on another system is no edit; 64 hex digits.

        is_contract: Does it drop or rename what the version before still needs? Files say so by a mark; `status` also
            of those in which the lint finds it.

        down: The file that undoes it; None without.

        waivers: What its comments accept of what the lint finds.
    """

    name: str
    path: Path
    number: int | None
    sql: str = field(repr=False)
    sha256: str
    is_contract: bool = False
    down: Path | None = None
    waivers: tuple[Waiver, ...] = ()

    def statements(self) -> Sequence[Statement]:
        """
        Split the file and check that D1 can run it as one transaction.

        Raises:
            BadConfiguration: A statement opens or ends a transaction, is cut off, or is longer than D1 takes; the
                message opens with file:line.
        """
        return check_statements(self.path, self.sql)


def find_migrations(folder: Path, pattern: str = "*.sql") -> Sequence[Migration]:
    """
    Find the migrations of *folder*, in the order in which wrangler applies them.

    A migration's way back is ``NAME.down.sql`` beside it, or ``down/NAME.sql``; these are never migrations.

    Args:
        pattern: wrangler's ``migrations_pattern`` without its leading folder; ``*``, ``?``, ``[…]`` and ``**``.

    Returns:
        The migrations; empty when there are none or the folder is missing.

    Raises:
        BadConfiguration: A file isn't UTF-8 text or can't be read, a down file has no migration, or the pattern is
            of a kind that Clodo doesn't know.
    """
    names = sorted(_names(folder, pattern), key=_order)
    migrations = [_read(folder, name) for name in names if not name.endswith(DOWN)]
    ways_back = {migration.down for migration in migrations}
    for name in names:
        if name.endswith(DOWN) and folder / name not in ways_back:
            raise BadConfiguration(
                f"{folder / name}: there is no migration {name.removesuffix(DOWN)}.sql that it could undo",
                hint="Rename it after its migration, or remove it.",
            )
    return migrations


def digest(folder: Path, pattern: str = "*.sql") -> str:
    """
    Return one SHA-256 (64 hex digits) over names and contents of the migrations.

    An empty and a missing folder have the same. Down files don't count: they change nothing that is released.

    Raises:
        BadConfiguration: A file can't be read.
    """
    listing = "".join(f"{migration.sha256}  {migration.name}\n" for migration in find_migrations(folder, pattern))
    return hashlib.sha256(listing.encode()).hexdigest()


def read_text(path: Path) -> str:
    """
    Read an SQL file.

    Raises:
        BadConfiguration: It isn't UTF-8 text or can't be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfiguration(
            f"{path}: byte {error.start} is not UTF-8", hint="Save the file in the encoding UTF-8."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadConfiguration(f"{path}:{line}: a NUL character ends what SQLite reads", hint="Remove it.")
    return text


def check_statements(path: Path, sql: str) -> Sequence[Statement]:
    """
    Split *sql*, the text of *path*, and check that D1 can run it as one transaction.

    Raises:
        BadConfiguration: It can't; the message opens with file:line.
    """
    statements = split(sql)
    for statement in statements:
        place = f"{path}:{statement.line}"
        if statement.problem:
            raise BadConfiguration(f"{place}: {statement.problem}", hint="Close it.")
        if statement.first_word in TRANSACTION_WORDS:
            raise BadConfiguration(
                f"{place}: {statement.first_word}: a migration can't open or end transactions",
                hint="Remove the statement; every file runs in one transaction, all of it or nothing.",
            )
        size = len(statement.text.encode())
        if size > MAX_STATEMENT_BYTES:
            raise BadConfiguration(
                f"{place}: a statement of {size:,} bytes; D1 takes {MAX_STATEMENT_BYTES:,}",
                hint="Split it into several statements.",
            )
    return statements


def down_name(name: str) -> str:
    """Return the name of the down file that lies beside the migration *name*."""
    return name.removesuffix(".sql") + DOWN


def _names(folder: Path, pattern: str) -> Iterator[str]:
    parts = pattern.split("/")
    if not pattern or pattern.startswith("/") or ".." in parts or any(sign in pattern for sign in "{}()!\\"):
        raise BadConfiguration(
            f"migrations_pattern {pattern!r}: only *, ?, [...] and ** below migrations_dir are known",
            hint='Write it like "migrations/*/migration.sql".',
        )
    for path in folder.glob(pattern):
        name = path.relative_to(folder).as_posix()
        # As wrangler: no hidden files, no links.
        is_hidden = any(part.startswith(".") for part in name.split("/"))
        if not is_hidden and not path.is_symlink() and path.is_file():
            yield name


def _order(name: str) -> list[tuple[float, bytes]]:
    # Segment by segment, by leading number; what has none comes last. JavaScript compares texts by UTF-16 units.
    return [
        (math.inf if (number := _number(segment)) is None else number, segment.encode("utf-16-be"))
        for segment in name.split("/")
    ]


def _number(name: str) -> int | None:
    digits = re.match(r"\s*([+-]?[0-9]+)", name)
    return int(digits[1]) if digits else None


def _read(folder: Path, name: str) -> Migration:
    path = folder / name
    sql = read_text(path)
    candidates = (folder / down_name(name), folder / DOWN_FOLDER / name)
    down = [candidate for candidate in candidates if candidate.is_file()]
    if len(down) > 1:
        raise BadConfiguration(f"{down[1]}: {down[0]} undoes {name} already", hint="Remove one of the two.")
    marks = read_marks(path, sql)
    return Migration(
        name=name,
        path=path,
        number=_number(name),
        sql=sql,
        sha256=hashlib.sha256(sql.replace("\r\n", "\n").encode()).hexdigest(),
        is_contract=marks.is_contract,
        down=down[0] if down else None,
        waivers=marks.waivers,
    )
