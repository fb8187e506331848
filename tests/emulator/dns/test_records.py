"""Records by themselves: read, checked, written, and beside each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.dns.records import Record, raise_if_in_conflict
from clodo.emulator.dns.types import TYPES as KNOWN
from clodo.emulator.envelope import ApiError

ZONE = "unit.example"

#: Of each type: what is sent, the line and the parts that come back.
TYPES: tuple[tuple[str, dict[str, Any], str, dict[str, Any] | None], ...] = (
    ("A", {"content": "192.0.2.1"}, "192.0.2.1", None),
    ("AAAA", {"content": "2001:DB8:0:0::1"}, "2001:db8::1", None),
    ("CNAME", {"content": "Elsewhere.Example."}, "elsewhere.example", None),
    ("TXT", {"content": "v=spf1 -all"}, "v=spf1 -all", None),
    ("MX", {"content": "mx.example", "priority": 10}, "mx.example", None),
    ("NS", {"content": "ns1.example."}, "ns1.example", None),
    ("PTR", {"content": "host.example"}, "host.example", None),
    ("OPENPGPKEY", {"content": "AQID"}, "AQID", None),
    (
        "SRV",
        {"data": {"priority": 1, "weight": 5, "port": 5060, "target": "sip.example"}},
        "5 5060 sip.example",
        {"priority": 1, "weight": 5, "port": 5060, "target": "sip.example"},
    ),
    ("SRV", {"content": "1 5 5061 sip.example"}, "5 5061 sip.example", None),
    (
        "CAA",
        {"data": {"flags": 0, "tag": "issue", "value": "ca.example"}},
        '0 issue "ca.example"',
        {"flags": 0, "tag": "issue", "value": "ca.example"},
    ),
    ("CAA", {"content": '128 iodef "mailto:a@b.example"'}, '128 iodef "mailto:a@b.example"', None),
    (
        "TLSA",
        {"data": {"usage": 3, "selector": 1, "matching_type": 1, "certificate": "abCD"}},
        "3 1 1 abCD",
        {"usage": 3, "selector": 1, "matching_type": 1, "certificate": "abCD"},
    ),
    ("SMIMEA", {"content": "3 0 0 00ff 11"}, "3 0 0 00ff11", None),
    ("SSHFP", {"content": "4 2 bf6b"}, "4 2 bf6b", {"algorithm": 4, "type": 2, "fingerprint": "bf6b"}),
    (
        "HTTPS",
        {"data": {"priority": 1, "target": ".", "value": 'alpn="h2"'}},
        '1 . alpn="h2"',
        {"priority": 1, "target": ".", "value": 'alpn="h2"'},
    ),
    ("SVCB", {"content": "0 svc.example."}, "0 svc.example.", None),
    ("URI", {"priority": 10, "data": {"weight": 1, "target": "ftp://f.example"}}, '1 "ftp://f.example"', None),
    ("CERT", {"content": "1 0 0 AQID"}, "1 0 0 AQID", None),
    ("DNSKEY", {"content": "257 3 13 AQID"}, "257 3 13 AQID", None),
    (
        "NAPTR",
        {"content": '10 100 "S" "SIP+D2U" "!^.*$!sip:a@b!" .'},
        '10 100 "S" "SIP+D2U" "!^.*$!sip:a@b!" .',
        {
            "order": 10,
            "preference": 100,
            "flags": "S",
            "service": "SIP+D2U",
            "regex": "!^.*$!sip:a@b!",
            "replacement": ".",
        },
    ),
    (
        "LOC",
        {"content": "37 46 46.5 N 122 23 35 W 5m 100m 10m 2m"},
        "37 46 46.500 N 122 23 35.000 W 5.00 100.00 10.00 2.00",
        None,
    ),
)

#: What can't be: the body of a record, and the number of its refusal.
REFUSED: tuple[tuple[dict[str, Any], int], ...] = (
    ({"type": "NONSENSE", "name": "a", "content": "x"}, 9002),
    ({"name": "a", "content": "x"}, 9002),
    ({"type": "A", "content": "192.0.2.1"}, 9000),
    ({"type": "A", "name": "a..b", "content": "192.0.2.1"}, 9000),
    ({"type": "A", "name": "a.*", "content": "192.0.2.1"}, 9000),
    ({"type": "A", "name": "x" * 64, "content": "192.0.2.1"}, 9000),
    ({"type": "A", "name": "a", "content": "2001:db8::1"}, 9005),
    ({"type": "A", "name": "a"}, 9005),
    ({"type": "AAAA", "name": "a", "content": "192.0.2.1"}, 9006),
    ({"type": "CNAME", "name": "a", "content": "https://b.example"}, 9007),
    ({"type": "MX", "name": "a", "content": "not a host", "priority": 1}, 9009),
    ({"type": "MX", "name": "a", "content": "mx.example"}, 9025),
    ({"type": "MX", "name": "a", "content": "mx.example", "priority": 65536}, 9025),
    ({"type": "TXT", "name": "a", "content": ""}, 9010),
    ({"type": "TXT", "name": "a", "content": "x" * 4097}, 9015),
    ({"type": "SRV", "name": "a", "data": {"priority": 1, "weight": 5, "target": "b.example"}}, 9101),
    ({"type": "SRV", "name": "a", "data": {"priority": 1, "weight": 5, "port": 65536, "target": "b"}}, 9102),
    ({"type": "CAA", "name": "a"}, 9101),
    ({"type": "TLSA", "name": "a", "content": "3 1 1 xyz"}, 9102),
    ({"type": "LOC", "name": "a", "content": "91 0 0 N 0 0 0 E"}, 9102),
    ({"type": "A", "name": "a", "content": "192.0.2.1", "ttl": 59}, 9021),
    ({"type": "A", "name": "a", "content": "192.0.2.1", "ttl": 86401}, 9021),
    ({"type": "A", "name": "a", "content": "192.0.2.1", "ttl": "auto"}, 9021),
    ({"type": "A", "name": "a", "content": "192.0.2.1", "proxied": "yes"}, 9003),
    ({"type": "A", "name": "a", "content": "10.0.0.1", "proxied": True}, 9004),
    ({"type": "TXT", "name": "a", "content": "x", "proxied": True}, 9004),
    ({"type": "A", "name": "a", "content": "192.0.2.1", "comment": "x" * 501}, 9301),
    ({"type": "A", "name": "a", "content": "192.0.2.1", "tags": ["no colon but fine", 3]}, 9302),
    ({"type": "A", "name": "a", "content": "192.0.2.1", "tags": [f"t{n}:x" for n in range(21)]}, 9300),
    ({"type": "A", "name": "a", "content": "192.0.2.1", "settings": {"flatten_cname": True}}, 9303),
    ({"type": "DS", "name": "a", "content": "1 13 2 abcd"}, 81062),
)


@pytest.mark.parametrize(("kind", "body", "content", "data"), TYPES)
def test_each_type_is_read_and_written(
    kind: str, body: dict[str, Any], content: str, data: dict[str, Any] | None
) -> None:
    """What is sent as a line or in parts becomes both, and the line alone is understood again."""
    made = Record.from_json({"type": kind, "name": "host", **body}, ZONE)
    line = {"content": made.value.content, "priority": made.value.priority}
    again = Record.from_json({"type": kind, "name": "host", **line}, ZONE)

    assert (made.type, made.name, made.value.content) == (kind, f"host.{ZONE}", content)
    assert data is None or made.value.data == data
    assert again.value == made.value


def test_every_type_has_an_example() -> None:
    """No type is left out above."""
    assert {kind for kind, *_ in TYPES} | {"DS"} == KNOWN


@pytest.mark.parametrize(("body", "number"), REFUSED)
def test_what_cannot_be_is_refused(body: dict[str, Any], number: int) -> None:
    """Each mistake has its number, and a sentence."""
    with pytest.raises(ApiError) as refused:
        raise_if_in_conflict(Record.from_json(body, ZONE), [], ZONE)

    assert (refused.value.status, refused.value.code) == (400, number)
    assert refused.value.message.endswith(".")


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(sorted(KNOWN)) | st.text(max_size=4), "name": st.text(max_size=12)},
        optional={
            "content": st.text(max_size=60),
            "priority": st.none() | st.integers() | st.floats() | st.text(max_size=3),
            "ttl": st.none() | st.integers() | st.floats() | st.booleans(),
            "data": st.dictionaries(
                st.sampled_from(("flags", "tag", "value", "priority", "port", "weight", "target", "digest", "regex")),
                st.none() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.text(), max_size=2),
            ),
        },
    )
)
def test_anything_is_a_record_or_refused(body: dict[str, Any]) -> None:
    """Whatever is sent is either a record whose line reads back as the same, or refused with a number."""
    try:
        made = Record.from_json(body, ZONE)
    except ApiError:
        return
    again = Record.from_json(
        {
            "type": made.type,
            "name": made.name,
            "content": made.value.content,
            "priority": made.value.priority,
        },
        ZONE,
    )
    assert again.identity == made.identity
