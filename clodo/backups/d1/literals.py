"""
Values as SQL text that every SQLite reads back exactly, made by the database itself or here.

A row's text holds neither NUL nor line ends, so that rows are lines. Numbers with a fraction are written as fractions
of whole numbers: SQLite's decimals, read by an older SQLite, are off by the last bit for one value in a thousand.
"""

from __future__ import annotations

from collections.abc import Sequence

Value = int | float | str | bytes | None

REGULAR_ROW_BYTES = 900_000
"""
A row whose text is longer is *special*, and written in pieces.

D1 refuses strings of more than 2,000,000 bytes, and the text of a row is at most twice as long as its values.
"""

_FRACTION = 2**62
_LARGEST_WHOLE = 2.0**53
_LINE = "\x1f"
_RETURN = "\x1e"


def quoted_name(name: str) -> str:
    """Return *name* as an identifier."""
    return '"' + name.replace('"', '""') + '"'


WIDE_TABLE = 60
"""With more columns, numbers below 2^-10 get no expression of their own: D1 takes statements of 100 KB at most."""


def cell_sql(column: str, *, is_wide: bool = False) -> str:
    """
    Return the SQL expression for the literal of *column*; NULL for a number beyond 2^62 or below 2^-70.

    Args:
        is_wide: Also NULL for numbers below 2^-10, which makes it shorter.
    """
    fraction = f"{float(_FRACTION):.1f}"
    small = f"{float(2**60):.1f}"
    tiny = (
        f" WHEN abs({column})<0.0009765625 AND abs({column})*{small}>=0.0009765625"
        f" THEN {_fraction_sql(f'({column}*{small})')}||'/{small}'"
    )
    return (
        f"CASE typeof({column})"
        f" WHEN 'text' THEN CASE"
        f" WHEN instr({column},char(0)) THEN {_hex_sql(column)}"
        f" WHEN instr({column},char(10)) OR instr({column},char(13)) THEN CASE"
        f" WHEN instr({column},char(30)) OR instr({column},char(31)) THEN {_hex_sql(column)}"
        f" ELSE 'replace(replace('||replace(replace(quote({column}),char(10),char(31)),char(13),char(30))"
        f"||',char(30),char(13)),char(31),char(10))' END"
        f" ELSE quote({column}) END"
        f" WHEN 'real' THEN CASE"
        f" WHEN abs({column})<{_LARGEST_WHOLE:.1f} AND {column}=CAST({column} AS INTEGER)"
        f" THEN CAST({column} AS INTEGER)||'.0'"
        f" WHEN abs({column})>=0.0009765625 AND abs({column})<{fraction} THEN {_fraction_sql(column)}"
        f"{'' if is_wide else tiny} END"
        f" ELSE quote({column}) END"
    )


def key_sql(column: str) -> str:
    """Return the SQL expression for the literal of a key to compare with; text that is no UTF-8 included."""
    # With a plus the CAST has no affinity, so that the values that it is compared with stay what they are.
    return f"CASE typeof({column}) WHEN 'text' THEN '+'||{_hex_sql(column)} ELSE {cell_sql(column)} END"


def row_sql(columns: Sequence[str]) -> str:
    """
    Return the SQL expression for the text of a row, ``(1,'a',NULL)``; NULL when one of its cells has no literal.

    Args:
        columns: Short names; each occurs some twenty times.
    """
    is_wide = len(columns) > WIDE_TABLE
    parts = ["'('", cell_sql(columns[0], is_wide=is_wide)]
    for column in columns[1:]:
        parts += ["','", cell_sql(column, is_wide=is_wide)]
    return _concatenated([*parts, "')'"])


def size_sql(columns: Sequence[str]) -> str:
    """Return the SQL expression for how many bytes of text and blobs a row has."""
    sizes = [
        f"CASE WHEN typeof({column}) IN ('text','blob') THEN octet_length({column}) ELSE 0 END" for column in columns
    ]
    return _joined(sizes, "+")


def literal(value: Value) -> str:
    """Return the literal of *value*, the same as the database makes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex().upper()}'"
    if isinstance(value, str):
        return _text(value)
    return _real(value) if isinstance(value, float) else str(value)


def text_literal(content: bytes) -> str:
    """Return the literal of a text that is given as its bytes, which need not be UTF-8."""
    try:
        return _text(content.decode())
    except UnicodeDecodeError:
        return _hex(content)


def _text(value: str) -> str:
    if "\0" in value:
        return _hex(value.encode())
    if "\n" not in value and "\r" not in value:
        return _quoted(value)
    if _LINE in value or _RETURN in value:
        return _hex(value.encode())
    held = _quoted(value.replace("\n", _LINE).replace("\r", _RETURN))
    return f"replace(replace({held},char(30),char(13)),char(31),char(10))"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _hex(content: bytes) -> str:
    return f"CAST(X'{content.hex().upper()}' AS TEXT)"


def _real(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "9e999" if value > 0 else "-9e999"
    if abs(value) < _LARGEST_WHOLE and value == int(value):
        return f"{int(value)}.0"
    if 2.0**-10 <= abs(value) < _FRACTION:
        return _fraction(value)
    if abs(value) < 2.0**-10 and abs(value) * 2.0**60 >= 2.0**-10:
        return f"{_fraction(value * 2.0**60)}/{float(2**60):.1f}"
    # Whole numbers times, or by, powers of two: exact in every SQLite, whatever it makes of long decimals.
    numerator, denominator = value.as_integer_ratio()
    twos = 0
    while abs(numerator) >= 2**53:
        numerator //= 2
        twos += 1
    twos -= denominator.bit_length() - 1
    steps = [52] * (abs(twos) // 52) + ([abs(twos) % 52] if abs(twos) % 52 else [])
    return "(" + str(numerator) + "".join(f"{'*' if twos > 0 else '/'}{float(2**step):.1f}" for step in steps) + ")"


def _fraction(value: float) -> str:
    whole = int(value)
    return f"({whole}+{int((value - whole) * _FRACTION)}/{float(_FRACTION):.1f})"


def _hex_sql(column: str) -> str:
    return f"'CAST(X'''||hex({column})||''' AS TEXT)'"


def _fraction_sql(number: str) -> str:
    whole = f"CAST({number} AS INTEGER)"
    fraction = f"{float(_FRACTION):.1f}"
    return f"'('||{whole}||'+'||CAST(({number}-{whole})*{fraction} AS INTEGER)||'/{fraction})'"


def _concatenated(parts: Sequence[str]) -> str:
    return _joined(parts, "||")


def _joined(parts: Sequence[str], operator: str) -> str:
    # A balanced tree: D1 allows expressions a hundred deep, and tables a hundred columns wide.
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_joined(parts[:middle], operator)}{operator}{_joined(parts[middle:], operator)})"
