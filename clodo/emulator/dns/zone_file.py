"""Zone files (BIND's format): records to text, and text to records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from clodo.emulator.dns.limits import INVALID_CONTENT, refusal
from clodo.emulator.dns.store import StoredRecord
from clodo.emulator.dns.types import TYPES, split_line

#: Bytes of one string of a TXT record.
_STRING_BYTES = 255

#: Types whose content ends in a hostname.
_ENDS_IN_A_HOST = ("CNAME", "MX", "NS", "PTR", "SRV")

_TTL = re.compile(r"^(\d+[smhdw]?)+$", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CLASSES = ("IN", "CH", "HS")
_TAGS = re.compile(r"cf_tags=(\S+)")


def write(zone: str, name_servers: Sequence[str], records: Sequence[StoredRecord], *, moment: str) -> str:
    """Return the zone file of these records."""
    lines = [
        ";;",
        f";; Domain:     {zone}.",
        f";; Exported:   {moment[:19].replace('T', ' ')}",
        ";;",
        ";; SOA Record",
        f"{zone}.\t3600\tIN\tSOA\t{name_servers[0]}. dns.cloudflare.com. 2053000000 10000 2400 604800 3600",
        "",
        ";; NS Records",
        *(f"{zone}.\t86400\tIN\tNS\t{server}." for server in name_servers),
    ]
    for kind in sorted({known.record.type for known in records}):
        lines += ["", f";; {kind} Records"]
        lines += [_line(known) for known in records if known.record.type == kind]
    return "\n".join(lines) + "\n"


def read(text: str, zone: str) -> list[dict[str, Any]]:
    """
    Return the records that a zone file describes, each as the body of a request to make it.

    The SOA and the zone's own NS records are left out: they are Cloudflare's.

    Raises:
        ApiError: A line is no record; it says which.
    """
    origin, default_ttl, owner = zone, 1, zone
    found: list[dict[str, Any]] = []
    for number, line, comment in _logical_lines(text):
        words = line.split()
        if words[0].upper() == "$ORIGIN" and len(words) > 1:
            origin = words[1].removesuffix(".").lower()
        elif words[0].upper() == "$TTL" and len(words) > 1:
            default_ttl = _seconds(words[1], number)
        elif words[0].startswith("$"):
            raise refusal(INVALID_CONTENT, f"Line {number}: {words[0][:40]} is not supported.")
        else:
            if not line[0].isspace():
                owner = _absolute(words.pop(0), origin)
            ttl, kind, rest = _head(words, line, number, default_ttl)
            if kind != "SOA" and not (kind == "NS" and owner == zone):
                found.append(_body(owner, ttl, kind, rest, origin, comment, number))
    return found


def _line(known: StoredRecord) -> str:
    record = known.record
    content = record.value.content
    if record.type == "TXT":
        content = content if content.startswith('"') else _strings(content)
    if record.value.priority is not None:
        content = f"{record.value.priority} {content}"
    if record.type in _ENDS_IN_A_HOST and not content.endswith("."):
        content += "."
    tags = [f"cf-proxied:{str(record.proxied).lower()}"] if record.type in ("A", "AAAA", "CNAME") else []
    tags += record.tags
    notes = [record.comment.replace("\n", " ")] if record.comment else []
    notes += [f"cf_tags={','.join(tags)}"] if tags else []
    comment = f" ; {' '.join(notes)}" if notes else ""
    return f"{record.name}.\t{record.ttl}\tIN\t{record.type}\t{content}{comment}"


def _strings(content: str) -> str:
    escaped = content.replace("\\", "\\\\").replace('"', '\\"')
    pieces = [escaped[start : start + _STRING_BYTES] for start in range(0, len(escaped), _STRING_BYTES)]
    return " ".join(f'"{piece}"' for piece in pieces)


def _logical_lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Give each record on one line, with the number it began at and its comment; parentheses join lines."""
    held, began, depth = "", 0, 0
    for number, raw in enumerate(text.splitlines(), 1):
        line, comment = _without_comment(raw)
        bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
        began = began if depth else number
        depth += bare.count("(") - bare.count(")")
        held = f"{held} {line}" if held else line
        if depth > 0:
            continue
        depth = 0
        if held.strip():
            yield began, re.sub(r'("(?:[^"\\]|\\.)*")|[()]', lambda match: match[1] or " ", held), comment
        held = ""


def _without_comment(line: str) -> tuple[str, str]:
    match = re.match(r'^((?:[^";\\]|\\.|"(?:[^"\\]|\\.)*")*)(?:;(.*))?$', line)
    return (match[1], (match[2] or "").strip()) if match else (line, "")


def _head(words: list[str], line: str, number: int, default_ttl: int) -> tuple[int, str, str]:
    """Take TTL, class and type, in any order, off a record; return what is left of its line."""
    ttl, left = default_ttl, list(words)
    while left and (left[0].upper() in _CLASSES or _TTL.match(left[0])):
        part = left.pop(0)
        ttl = ttl if part.upper() in _CLASSES else _seconds(part, number)
    kind = left[0].upper() if left else ""
    if kind != "SOA" and kind not in TYPES:
        raise refusal(INVALID_CONTENT, f"Line {number}: no type of record that is supported.")
    rest = re.split(rf"(?i)(?<=\s){re.escape(kind)}(?=\s|$)", line, maxsplit=1)[-1].strip()
    return ttl, kind, rest


def _body(owner: str, ttl: int, kind: str, rest: str, origin: str, comment: str, number: int) -> dict[str, Any]:
    if not rest:
        raise refusal(INVALID_CONTENT, f"Line {number}: the record says nothing.")
    body: dict[str, Any] = {"name": owner, "type": kind, "ttl": ttl, "content": rest}
    if kind in ("MX", "SRV", "URI"):
        priority, _, content = rest.partition(" ")
        body |= {"priority": int(priority) if priority.isascii() and priority.isdigit() else None}
        body["content"] = content.strip()
    if kind == "TXT":
        body["content"] = rest if rest.startswith('"') else f'"{rest}"'
        if len(words := split_line(rest)) == 1:
            body["content"] = words[0]
    if kind in _ENDS_IN_A_HOST:
        head, _, target = body["content"].rpartition(" ")
        body["content"] = f"{head} {_absolute(target, origin)}".strip()
    if marks := _TAGS.search(comment):
        tags = marks[1].split(",")
        body["proxied"] = "cf-proxied:true" in tags
        body["tags"] = [tag for tag in tags if not tag.startswith("cf-")]
    if note := _TAGS.sub("", comment).strip():
        body["comment"] = note
    return body


def _absolute(name: str, origin: str) -> str:
    if name == "@":
        return origin
    if name.endswith("."):
        return name.removesuffix(".").lower() or "."
    return f"{name}.{origin}".lower()


def _seconds(text: str, number: int) -> int:
    if not _TTL.match(text) or len(text) > 12:
        raise refusal(INVALID_CONTENT, f"Line {number}: {text[:40]!r} is no time to live.")
    return sum(int(amount) * _UNITS[unit.lower() or "s"] for amount, unit in re.findall(r"(\d+)([smhdwSMHDW]?)", text))
