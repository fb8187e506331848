"""DNS records over the API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.dns.conftest import Zone
from tests.emulator.dns.test_records import REFUSED, TYPES


def test_a_refused_record_leaves_the_zone_as_it_was(zone: Zone) -> None:
    """Each mistake gets its number over the API, and nothing is kept of it."""
    for body, number in REFUSED:
        assert zone.refusal(json=body) == (400, number), body

    assert zone.names() == []


def test_what_is_read_can_be_sent_back(zone: Zone) -> None:
    """A record of each type, put as it was got, is the same record."""
    for number, (kind, body, _, _) in enumerate(TYPES):
        made = zone.put(kind, f"host-{number}", **body)
        again = zone.send("PUT", f"/{made['id']}", json=made).json()["result"]
        assert {**again, "modified_on": ""} == {**made, "modified_on": ""}
        assert zone.send("GET", f"/{made['id']}").json()["result"] == again


def test_names_are_whole_in_the_end(zone: Zone) -> None:
    """Relative names, names with a dot at the end, capitals, @ and other scripts become one form."""
    for number, (said, kept) in enumerate(
        (
            ("@", ""),
            ("www", "www"),
            (f"Mail.{zone.name}.", "mail"),
            (zone.name, ""),
            ("*.wild", "*.wild"),
            ("bücher", "xn--bcher-kva"),
            ("_dmarc", "_dmarc"),
        )
    ):
        made = zone.put("TXT", said, f"text {number}")
        assert made["name"].removesuffix(zone.name).removesuffix(".") == kept


def test_proxied_records_have_an_automatic_ttl(zone: Zone) -> None:
    """Proxied forces 1; not proxied keeps what was said, and 1 when nothing was."""
    proxied = zone.put("A", "a", "192.0.2.1", proxied=True, ttl=300)
    plain = zone.put("A", "b", "192.0.2.1", ttl=300)
    silent = zone.put("A", "c", "192.0.2.1")
    private = zone.put("A", "d", "127.0.0.1")
    switched = zone.send("PATCH", f"/{plain['id']}", json={"proxied": True}).json()["result"]

    assert (proxied["ttl"], plain["ttl"], silent["ttl"], switched["ttl"]) == (1, 300, 1, 1)
    assert (proxied["proxiable"], private["proxiable"]) == (True, False)


def test_records_that_cannot_be_beside_each_other_are_refused(zone: Zone) -> None:
    """An identical one, and a CNAME beside addresses, either way round, at the apex too."""
    zone.put("A", "www", "192.0.2.1")
    zone.put("A", "www", "192.0.2.2")
    zone.put("CNAME", "docs", "www.example")
    zone.put("CNAME", "@", "www.example")
    zone.put("TXT", "docs", "beside a CNAME")
    zone.put("NS", "sub", "ns1.example")

    def refused(kind: str, name: str, content: str) -> int:
        return zone.refusal(json={"type": kind, "name": name, "content": content})[1]

    assert refused("A", "www", "192.0.2.1") == 81058
    assert refused("CNAME", "www", "elsewhere.example") == 81053
    assert refused("CNAME", "docs", "elsewhere.example") == 81053
    assert refused("AAAA", "docs", "2001:db8::1") == 81054
    assert refused("A", "@", "192.0.2.1") == 81054
    assert refused("A", "sub", "192.0.2.1") == 81056
    assert refused("NS", "www", "ns1.example") == 81053
    assert refused("TXT", "docs", "beside a CNAME") == 81058


def test_text_of_one_name_has_a_limit(zone: Zone) -> None:
    """Three texts of 4,000 bytes are over the 8,192 that one name may have."""
    zone.put("TXT", "long", "a" * 4000)
    zone.put("TXT", "long", "b" * 4000)

    assert zone.refusal(json={"type": "TXT", "name": "long", "content": "c" * 4000}) == (400, 83011)


def test_put_replaces_and_patch_changes(zone: Zone) -> None:
    """PUT forgets what isn't said; PATCH keeps it; both keep the id and when it was made."""
    made = zone.put("A", "www", "192.0.2.1", ttl=300, comment="first", tags=["team:web"])
    path = f"/{made['id']}"
    patched = zone.send("PATCH", path, json={"content": "192.0.2.9"}).json()["result"]
    put = zone.send("PUT", path, json={"type": "A", "name": "www", "content": "192.0.2.9"}).json()["result"]
    other = zone.send("PATCH", path, json={"type": "TXT", "content": "now a text"}).json()["result"]

    assert (patched["content"], patched["ttl"], patched["comment"], patched["tags"]) == (
        *("192.0.2.9", 300, "first"),
        ["team:web"],
    )
    assert patched["comment_modified_on"] == made["comment_modified_on"]
    assert (put["ttl"], put["comment"], put["tags"]) == (1, None, [])
    assert put["created_on"] == made["created_on"] < put["modified_on"]
    assert (other["id"], other["type"], other["content"]) == (made["id"], "TXT", "now a text")


def test_parts_are_patched_one_by_one(zone: Zone) -> None:
    """A part that is said is changed, and the line with it; a priority beside them too."""
    made = zone.put("SRV", "_sip._tcp", data={"priority": 1, "weight": 5, "port": 5060, "target": "sip.example"})
    path = f"/{made['id']}"
    port = zone.send("PATCH", path, json={"data": {"port": 5061}}).json()["result"]
    priority = zone.send("PATCH", path, json={"priority": 7}).json()["result"]
    line = zone.send("PATCH", path, json={"content": "6 80 other.example"}).json()["result"]

    assert (port["content"], port["data"]["weight"]) == ("5 5061 sip.example", 5)
    assert (priority["priority"], priority["data"]["priority"]) == (7, 7)
    assert (line["data"]["target"], line["priority"]) == ("other.example", 7)


def test_records_that_are_not_there(zone: Zone) -> None:
    """Reading, changing and deleting an unknown record is 81044."""
    unknown = "/" + "0" * 32
    body = {"type": "A", "name": "a", "content": "192.0.2.1"}

    assert zone.refusal("GET", unknown) == (404, 81044)
    assert zone.refusal("PUT", unknown, json=body) == (404, 81044)
    assert zone.refusal("PATCH", unknown, json={}) == (404, 81044)
    assert zone.refusal("DELETE", unknown) == (404, 81044)


def test_a_deleted_record_is_gone(zone: Zone) -> None:
    """DELETE answers the id, and the name is free again."""
    made = zone.put("CNAME", "www", "a.example")
    deleted = zone.send("DELETE", f"/{made['id']}").json()["result"]

    assert deleted == {"id": made["id"]}
    assert zone.put("A", "www", "192.0.2.1")["id"] != made["id"]


def test_lists_are_filtered_ordered_and_paged(zone: Zone) -> None:
    """Every filter alone and together, search, order, direction and pages."""
    zone.put("A", "alpha", "192.0.2.1", proxied=True, comment="Web one", tags=["team:web", "tier:1"])
    zone.put("A", "beta", "192.0.2.2", ttl=600, tags=["team:mail"])
    zone.put("TXT", "alpha", "hello world", ttl=120)
    zone.put("MX", "@", "mx.beta.example", priority=5)

    assert zone.names() == ["alpha", "beta", "", "alpha"]
    assert zone.names(type="A") == ["alpha", "beta"]
    assert zone.names(name=f"alpha.{zone.name}") == ["alpha", "alpha"]
    assert zone.names(name__exact=f"BETA.{zone.name}") == ["beta"]
    assert zone.names(name__contains="lph", type="TXT") == ["alpha"]
    assert zone.names(name__startswith="bet") == ["beta"]
    assert zone.names(name__endswith=f"a.{zone.name}") == ["alpha", "beta", "alpha"]
    assert zone.names(content="192.0.2.2") == ["beta"]
    assert zone.names(content__contains="beta") == [""]
    assert zone.names(proxied="true") == ["alpha"]
    assert zone.names(comment__present="") == ["alpha"]
    assert zone.names(comment__absent="") == ["beta", "", "alpha"]
    assert zone.names(comment__startswith="web") == ["alpha"]
    assert zone.names(tag="team:web") == ["alpha"]
    assert zone.names(tag__present="team") == ["alpha", "beta"]
    assert zone.names(tag__present="tier", tag__contains="team:mai", tag_match="any") == ["alpha", "beta"]
    assert zone.names(tag__absent="team", type="A", match="any") == ["alpha", "beta", "", "alpha"]
    assert zone.names(search="hello") == ["alpha"]
    assert zone.names(type="MX", content="hello world", match="any") == ["", "alpha"]
    by_ttl = zone.send("GET", params={"order": "ttl"}).json()["result"]
    assert [record["ttl"] for record in by_ttl] == [1, 1, 120, 600]
    assert zone.names(order="name", direction="desc", type="A") == ["beta", "alpha"]
    assert zone.names(per_page=2, page=2) == ["", "alpha"]
    assert zone.names(page=9) == []
    info = zone.send("GET", params={"per_page": 3}).json()["result_info"]
    assert info == {"page": 1, "per_page": 3, "count": 3, "total_count": 4, "total_pages": 2}
    for query in ({"order": "age"}, {"match": "some"}, {"direction": "up"}, {"per_page": "many"}):
        assert zone.refusal("GET", params=query)[0] == 400, query


def test_the_newest_of_one_name_is_listed_first(zone: Zone) -> None:
    """As recorded: by type, then name, and of the same both the newest first."""
    for kind, name, content in (
        *(("TXT", "b", "first"), ("TXT", "b", "second"), ("TXT", "a", "third")),
        ("A", "z", "192.0.2.1"),
    ):
        zone.put(kind, name, content)

    listed = [record["content"] for record in zone.send("GET").json()["result"]]
    assert listed == ["192.0.2.1", "third", "second", "first"]


def test_a_batch_is_done_in_order_and_whole(zone: Zone) -> None:
    """Deletes, patches, puts, posts: what one makes room for, the next may take."""
    gone = zone.put("CNAME", "www", "a.example")
    patched = zone.put("A", "api", "192.0.2.1")
    replaced = zone.put("TXT", "note", "old")
    batch = {
        "posts": [
            {"type": "A", "name": "www", "content": "192.0.2.7"},
            {"type": "A", "name": "new", "content": "192.0.2.8"},
        ],
        "puts": [{"id": replaced["id"], "type": "TXT", "name": "note", "content": "new"}],
        "patches": [{"id": patched["id"], "ttl": 300}],
        "deletes": [{"id": gone["id"]}],
    }
    done = zone.send("POST", "/batch", json=batch).json()["result"]

    assert [record["content"] for record in done["posts"]] == ["192.0.2.7", "192.0.2.8"]
    assert (done["puts"][0]["content"], done["patches"][0]["ttl"]) == ("new", 300)
    assert done["deletes"][0]["id"] == gone["id"]
    assert sorted(zone.names()) == ["api", "new", "note", "www"]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (
            {"posts": [{"type": "A", "name": "b", "content": "192.0.2.1"}, {"type": "A", "name": "c", "content": "x"}]},
            9005,
        ),
        ({"posts": [{"type": "CNAME", "name": "kept", "content": "a.example"}]}, 81053),
        ({"patches": [{"id": "0" * 32, "ttl": 300}]}, 81044),
        ({"puts": [{"type": "A"}]}, 81044),
    ],
)
def test_a_batch_that_fails_changes_nothing(zone: Zone, change: dict[str, Any], refusal: int) -> None:
    """One change that can't be undoes those before it."""
    zone.put("A", "kept", "192.0.2.1")
    gone = zone.put("A", "also", "192.0.2.1")

    assert zone.refusal("POST", "/batch", json={"deletes": [{"id": gone["id"]}], **change})[1] == refusal
    assert zone.names() == ["also", "kept"]


def test_records_of_other_zones_are_out_of_reach(zone: Zone) -> None:
    """A record's id says nothing in another zone."""
    made = zone.put("A", "www", "192.0.2.1")
    other = zone.account.api.post(
        "/zones", json={"name": f"two-{zone.name}", "account": {"id": zone.account.account_id}}
    )
    path = f"/zones/{other.json()['result']['id']}/dns_records/{made['id']}"

    assert zone.account.api.get(path).status_code == 404
    assert zone.account.api.delete(path).status_code == 404
    assert zone.names() == ["www"]
