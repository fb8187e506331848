"""The types of records: what each holds, and how it is written."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clodo.emulator.dns import names
from clodo.emulator.dns.fields import (
    Kind,
    decimal,
    encoded,
    hexadecimal,
    host,
    host_as_written,
    number,
    one_of,
    text,
    word,
)
from clodo.emulator.dns.limits import (
    CONTENT_TOO_LONG,
    INVALID_CNAME,
    INVALID_CONTENT,
    INVALID_DATA,
    INVALID_IPV4,
    INVALID_IPV6,
    INVALID_MX,
    INVALID_PRIORITY,
    INVALID_TYPE,
    MAX_CONTENT_BYTES,
    MISSING_DATA,
    refusal,
)

_BYTE, _SHORT = number(0, 255), number(0, 65_535)


@dataclass(frozen=True, slots=True)
class Value:
    """
    What a record says.

    Attributes:
        content: As one line.

        data: The same in parts, for the types that have parts.

        priority: Of MX, SRV and URI records.
    """

    content: str
    data: Mapping[str, Any] | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class _Parts:
    """
    A type whose value has parts.

    Attributes:
        fields: Parts in the order of the line; those with a default may be left out.

        write: Makes the line; by default the parts, one after the other.

        has_priority: Whether ``priority`` stands beside the line instead of in it.
    """

    fields: Mapping[str, Kind]
    write: Callable[[Mapping[str, Any]], str] = lambda data: " ".join(str(value) for value in data.values())
    defaults: Mapping[str, Any] | None = None
    has_priority: bool = False
    #: The last part takes the rest of the line, however many words that is.
    takes_rest: bool = False


def _caa(data: Mapping[str, Any]) -> str:
    return f"{data['flags']} {data['tag']} {_quoted(data['value'])}"


def _naptr(data: Mapping[str, Any]) -> str:
    quoted = " ".join(_quoted(data[key]) for key in ("flags", "service", "regex"))
    return f"{data['order']} {data['preference']} {quoted} {data['replacement']}"


def _srv(data: Mapping[str, Any]) -> str:
    return f"{data['weight']} {data['port']} {data['target']}"


def _uri(data: Mapping[str, Any]) -> str:
    return f"{data['weight']} {_quoted(data['target'])}"


def _service(data: Mapping[str, Any]) -> str:
    return f"{data['priority']} {data['target']} {data['value']}".strip()


def _loc(data: Mapping[str, Any]) -> str:
    def side(axis: str) -> str:
        seconds = f"{data[f'{axis}_seconds']:.3f}"
        return f"{data[f'{axis}_degrees']} {data[f'{axis}_minutes']} {seconds} {data[f'{axis}_direction']}"

    sizes = " ".join(f"{data[key]:.2f}" for key in ("altitude", "size", "precision_horz", "precision_vert"))
    return f"{side('lat')} {side('long')} {sizes}"


def _service_value(value: Any) -> str:
    line = text(value).strip()
    if not re.match(r'^([a-z0-9-]+(=("[^"]*"|[^\s"]*))?(\s+|$))*$', line):
        raise ValueError('must be parameters such as alpn="h2,h3"')
    return line


_LENGTH = decimal(0, 90_000_000)
_SERVICE = _Parts(
    {"priority": _SHORT, "target": host_as_written, "value": _service_value},
    _service,
    defaults={"value": ""},
    takes_rest=True,
)
_CERTIFICATE = _Parts(
    {"usage": _BYTE, "selector": _BYTE, "matching_type": _BYTE, "certificate": hexadecimal}, takes_rest=True
)

PARTS: Mapping[str, _Parts] = {
    "CAA": _Parts({"flags": _BYTE, "tag": word, "value": text}, _caa),
    "CERT": _Parts({"type": _SHORT, "key_tag": _SHORT, "algorithm": _BYTE, "certificate": encoded}, takes_rest=True),
    "DNSKEY": _Parts({"flags": _SHORT, "protocol": _BYTE, "algorithm": _BYTE, "public_key": encoded}, takes_rest=True),
    "DS": _Parts({"key_tag": _SHORT, "algorithm": _BYTE, "digest_type": _BYTE, "digest": hexadecimal}, takes_rest=True),
    "HTTPS": _SERVICE,
    "LOC": _Parts(
        {
            "lat_degrees": number(0, 90),
            "lat_minutes": number(0, 59),
            "lat_seconds": decimal(0, 59.999),
            "lat_direction": one_of("N", "S"),
            "long_degrees": number(0, 180),
            "long_minutes": number(0, 59),
            "long_seconds": decimal(0, 59.999),
            "long_direction": one_of("E", "W"),
            "altitude": decimal(-100_000, 42_849_672.95),
            "size": _LENGTH,
            "precision_horz": _LENGTH,
            "precision_vert": _LENGTH,
        },
        _loc,
        # RFC 1876
        defaults={"size": 1, "precision_horz": 10_000, "precision_vert": 10, "altitude": 0},
    ),
    "NAPTR": _Parts(
        {"order": _SHORT, "preference": _SHORT, "flags": text, "service": text, "regex": text, "replacement": text},
        _naptr,
    ),
    "SMIMEA": _CERTIFICATE,
    "SRV": _Parts({"priority": _SHORT, "weight": _SHORT, "port": _SHORT, "target": host}, _srv, has_priority=True),
    "SSHFP": _Parts({"algorithm": _BYTE, "type": _BYTE, "fingerprint": hexadecimal}, takes_rest=True),
    "SVCB": _SERVICE,
    "TLSA": _CERTIFICATE,
    "URI": _Parts({"priority": _SHORT, "weight": _SHORT, "target": text}, _uri, has_priority=True),
}

PLAIN = ("A", "AAAA", "CNAME", "MX", "NS", "OPENPGPKEY", "PTR", "TXT")
TYPES = frozenset({*PLAIN, *PARTS})

#: Types that may be proxied.
PROXIABLE = frozenset({"A", "AAAA", "CNAME"})


def read_value(kind: str, body: Mapping[str, Any]) -> Value:
    """
    Read what a record of one type says out of its ``content``, or ``data``, and ``priority``.

    Raises:
        ApiError: The type is not known, or the value is none of that type.
    """
    if kind in PARTS:
        value = _from_parts(kind, PARTS[kind], body)
    elif kind in PLAIN:
        value = _plain(kind, body)
    else:
        raise refusal(*INVALID_TYPE)
    if len(value.content.encode()) > MAX_CONTENT_BYTES:
        raise refusal(*CONTENT_TOO_LONG)
    return value


def is_proxiable(kind: str, content: str) -> bool:
    """Say whether Cloudflare's proxy could stand in front of a record: of addresses, only public ones."""
    if kind not in PROXIABLE:
        return False
    if kind == "CNAME":
        return True
    address = ipaddress.ip_address(content)
    # What documentation and custom domains use as a placeholder (192.0.2.0/24, 100::/64) may be proxied.
    reserved = (address.is_loopback, address.is_link_local, address.is_multicast, address.is_unspecified)
    private = address.is_private and not any(address in network for network in _PLACEHOLDERS)
    return not any(reserved) and not private


_PLACEHOLDERS = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "100::/64", "2001:db8::/32")
)


def split_line(line: str) -> list[str]:
    """Return the words of a record's line; quoted ones keep their blanks and lose their quotes."""
    return [
        re.sub(r"\\(.)", r"\1", quoted) if mark else bare
        for mark, quoted, bare in re.findall(r'(")((?:[^"\\]|\\.)*)"|([^\s"]+)', line)
    ]


def _plain(kind: str, body: Mapping[str, Any]) -> Value:
    content = body.get("content")
    if not isinstance(content, str) or not content.strip():
        content = ""
    if kind == "A":
        return Value(_address(content, ipaddress.IPv4Address, INVALID_IPV4))
    if kind == "AAAA":
        return Value(_address(content, ipaddress.IPv6Address, INVALID_IPV6))
    if kind == "TXT":
        if not content or any(ord(letter) < 32 for letter in content):
            raise refusal(INVALID_CONTENT, "Content for TXT record must be a line of text.")
        return Value(content)
    if kind == "OPENPGPKEY":
        try:
            return Value(encoded(content))
        except ValueError as error:
            raise refusal(INVALID_CONTENT, f"Content for OPENPGPKEY record {error}.") from error
    name = names.hostname(content)
    if name is None or (name == "." and kind != "MX"):
        known = {"CNAME": INVALID_CNAME, "MX": INVALID_MX}
        raise refusal(*known.get(kind, (INVALID_CONTENT, f"Content for {kind} record must be a hostname.")))
    return Value(name, priority=_priority(body) if kind == "MX" else None)


def _address(
    content: str, family: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], invalid: tuple[int, str]
) -> str:
    try:
        address = family(content.strip())
    except ValueError as error:
        raise refusal(*invalid) from error
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise refusal(*invalid)
    return str(address)


def _priority(body: Mapping[str, Any]) -> int:
    try:
        found: int = _SHORT(body.get("priority"))
    except ValueError as error:
        raise refusal(*INVALID_PRIORITY) from error
    return found


def _from_parts(kind: str, parts: _Parts, body: Mapping[str, Any]) -> Value:
    given = body.get("data")
    if isinstance(given, Mapping) and given:
        found = dict(given)
    elif isinstance(body.get("content"), str) and body["content"].strip():
        found = _words(kind, parts, body["content"])
    else:
        raise refusal(MISSING_DATA, f"{next(iter(parts.fields))} is a required data field.")
    if parts.has_priority and "priority" not in found:
        found["priority"] = _priority(body)
    data: dict[str, Any] = {}
    for name, read in parts.fields.items():
        if found.get(name) is None and parts.defaults and name in parts.defaults:
            found[name] = parts.defaults[name]
        if found.get(name) is None:
            raise refusal(MISSING_DATA, f"{name} is a required data field.")
        try:
            data[name] = read(found[name])
        except ValueError as error:
            raise refusal(INVALID_DATA, f"{name} {error}.") from error
    shown = {name: value for name, value in data.items() if not (kind == "URI" and name == "priority")}
    return Value(parts.write(data), shown, data["priority"] if parts.has_priority else None)


def _words(kind: str, parts: _Parts, content: str) -> dict[str, Any]:
    """Take a line apart; where the priority stands beside it, it may be left out of it."""
    wanted = list(parts.fields)
    if parts.takes_rest:
        words: Sequence[str] = content.split(None, len(wanted) - 1)
    else:
        words = split_line(content)
    if parts.has_priority and len(words) == len(wanted) - 1:
        wanted.remove("priority")
    if len(words) > len(wanted):
        raise refusal(INVALID_CONTENT, f"Content for {kind} record is invalid.")
    return dict(zip(wanted, words, strict=False))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
