"""Zone files: written, read, and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.dns.records import Record
from clodo.emulator.dns.store import StoredRecord
from clodo.emulator.dns.zone_file import read, write
from clodo.emulator.envelope import ApiError
from tests.emulator.dns.conftest import Zone
from tests.emulator.dns.test_records import TYPES, ZONE

SAMPLE = """\
$ORIGIN unit.example.
$TTL 1h
@       IN SOA ns1.unit.example. admin.unit.example. ( 2026112001 ; serial
            7200 3600 1209600 3600 )
@       IN NS  ns1.elsewhere.example.
@       300 IN A 192.0.2.1
www         CNAME @ ; cf_tags=cf-proxied:true,team:web
        IN  TXT "two " "strings; and a semicolon"
mail    1d IN MX 10 mx.elsewhere.example.
_sip._tcp SRV 1 2 5060 sip
sub.unit.example. IN NS ns1.elsewhere.example.
$ORIGIN deep.unit.example.
host    A ( 192.0.2.9 ) ; a note on it
"""


def stored(record: Record) -> StoredRecord:
    """Return a record as if it had been in a zone."""
    return StoredRecord("0" * 32, record, "", "", None, None, None)


def test_a_zone_file_is_read_as_others_write_it() -> None:
    """Origins, times to live, blanks for the name before, parentheses, comments, quotes; not the SOA, nor own NS."""
    found = read(SAMPLE, ZONE)

    assert [(body["name"], body["type"], body["ttl"], body["content"]) for body in found] == [
        ("unit.example", "A", 300, "192.0.2.1"),
        ("www.unit.example", "CNAME", 3600, "unit.example"),
        ("www.unit.example", "TXT", 3600, '"two " "strings; and a semicolon"'),
        ("mail.unit.example", "MX", 86_400, "mx.elsewhere.example"),
        ("_sip._tcp.unit.example", "SRV", 3600, "2 5060 sip.unit.example"),
        ("sub.unit.example", "NS", 3600, "ns1.elsewhere.example"),
        ("host.deep.unit.example", "A", 3600, "192.0.2.9"),
    ]
    assert (found[1]["proxied"], found[1]["tags"]) == (True, ["team:web"])
    assert (found[3]["priority"], found[4]["priority"], found[-1]["comment"]) == (10, 1, "a note on it")


@pytest.mark.parametrize(
    "line", ["www IN NONSENSE x", "www IN A", "$INCLUDE other.zone", "$TTL soon", "www", "www 300 IN"]
)
def test_a_line_that_is_no_record_is_told_by_its_number(line: str) -> None:
    """The refusal says which line."""
    with pytest.raises(ApiError, match="Line 2: "):
        read(f"; a comment\n{line}\n", ZONE)


def test_every_type_survives_a_zone_file() -> None:
    """What is written reads back as the same record, comment, tags and proxy status too."""
    records = [
        Record.from_json({"type": kind, "name": f"h{number}", "ttl": 300, **body}, ZONE)
        for number, (kind, body, _, _) in enumerate(TYPES)
    ]
    records.append(
        Record.from_json(
            {
                "type": "A",
                "name": "noted",
                "content": "192.0.2.1",
                "proxied": True,
                "comment": "a note",
                "tags": ["team:web"],
            },
            ZONE,
        )
    )
    text = write(ZONE, ["ada.ns.cloudflare.com"], [stored(record) for record in records], moment="2026-11-20T18:00:00Z")
    again = [Record.from_json(body, ZONE) for body in read(text, ZONE)]

    assert sorted(record.identity for record in again if record.type != "TXT") == sorted(
        record.identity for record in records if record.type != "TXT"
    )
    assert [record.value.content for record in again if record.type == "TXT"] == ["v=spf1 -all"]
    noted = next(record for record in again if record.name == f"noted.{ZONE}")
    assert (noted.proxied, noted.comment, noted.tags) == (True, "a note", ("team:web",))


@given(st.text(max_size=120))
def test_any_text_is_a_zone_file_or_refused(text: str) -> None:
    """No text upsets the reader."""
    try:
        bodies = read(text, ZONE)
    except ApiError:
        return

    assert all(set(body) >= {"name", "type", "ttl", "content"} for body in bodies)


def test_a_zone_is_exported_and_imported(zone: Zone) -> None:
    """What is exported is imported elsewhere, once: records that are there are parsed and not added."""
    zone.put("A", "www", "192.0.2.1", proxied=True)
    zone.put("TXT", "@", "v=spf1 -all", ttl=300)
    exported = zone.send("GET", "/export")
    for record in zone.send("GET").json()["result"]:
        zone.send("DELETE", f"/{record['id']}")
    file = {"file": ("zone.txt", exported.content)}
    first = zone.send("POST", "/import", files=file).json()["result"]
    second = zone.send("POST", "/import", files=file).json()["result"]
    raw = zone.send("POST", "/import", content=b"extra 300 IN A 192.0.2.2\n").json()["result"]
    proxied = zone.send(
        "POST", "/import", files={"file": ("z", b"other 300 IN A 192.0.2.3\n")}, data={"proxied": "true"}
    )

    assert exported.headers["content-type"].startswith("text/plain")
    assert (first, second["recs_added"]) == ({"recs_added": 2, "total_records_parsed": 2}, 0)
    assert (raw["recs_added"], proxied.status_code) == (1, 200)
    assert sorted(zone.names()) == ["", "extra", "other", "www"]
    assert sorted(zone.names(proxied="true")) == ["other", "www"]


def test_a_zone_file_that_fails_adds_nothing(zone: Zone) -> None:
    """One bad line leaves the zone as it was; so does what is no zone file at all."""
    bad = b"good 300 IN A 192.0.2.1\nbad 300 IN A 999.0.2.1\n"

    assert zone.refusal("POST", "/import", files={"file": ("zone.txt", bad)}) == (400, 9005)
    assert zone.refusal("POST", "/import", content=b"\xff\xfe")[0] == 400
    assert zone.refusal("POST", "/import", content=b"")[0] == 400
    assert zone.refusal("POST", "/import", content=b"x", headers={"Content-Type": "multipart/form-data"})[0] == 400
    assert zone.names() == []


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_a_form_written_by_hand_is_read(zone: Zone, newline: bytes) -> None:
    """Lines of a form may end in a newline alone, as cloudflare-go's do; a file without records adds none."""
    form = {"Content-Type": "multipart/form-data; boundary=-B"}
    head = b'---B\nContent-Disposition: form-data; name="file"; filename="bind.txt"\n\n%s\n---B'
    proxied = b'\nContent-Disposition: form-data; name="proxied"\n\ntrue\n---B--'
    added = (head % b"a 300 IN A 192.0.2.1\nt 60 IN TXT x" + b"--").replace(b"\n", newline)
    seen = (head % b"p 300 IN A 192.0.2.2" + proxied).replace(b"\n", newline)
    empty = (head % b"" + proxied).replace(b"\n", newline)

    results = [
        zone.send("POST", "/import", content=body, headers=form).json()["result"] for body in (added, seen, empty)
    ]
    assert [result["recs_added"] for result in results] == [2, 1, 0]
    assert zone.names(proxied="true") == ["p"]
