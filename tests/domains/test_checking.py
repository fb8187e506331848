"""Judging the facts about a hostname."""

from __future__ import annotations

import httpx
import pytest

from clodo.cloudflare.certificates import CertificatePack
from clodo.cloudflare.dns import DnsRecord
from clodo.cloudflare.domains import Domain
from clodo.cloudflare.routes import Route
from clodo.domains.access import SeenZone
from clodo.domains.checking import Facts, Standing, Unknown, asker, covers, judge

ZONE = SeenZone("z", "acme.example", "active", False, "a", "", ("ada.ns.example",))
ROUTE = Route(id="r", pattern="*.acme.example/*", script="api")
RECORD = DnsRecord(id="d", name="*.acme.example", type="CNAME", proxied=True)
PACK = CertificatePack(id="p", hosts=("acme.example", "*.acme.example"), status="active")
GOOD = {"zone": ZONE, "routes": [ROUTE], "records": [RECORD], "packs": [PACK], "answer": 404}


def bad(**changes: object) -> list[tuple[str, str]]:
    """Return what is bad about a host that is good but for *changes*."""
    facts = Facts("api.acme.example", **{**GOOD, **changes})  # type: ignore[arg-type]
    return [(check.about, check.what) for check in judge(facts) if check.standing is Standing.BAD]


def test_a_host_is_good_when_all_is():
    """A wildcard route, a wildcard record, a wildcard certificate, and a Worker that answers."""
    assert bad() == []


@pytest.mark.parametrize(
    ("changes", "about", "what"),
    [
        ({"zone": SeenZone("z", "acme.example", "pending", False, "a", "", ("ada",))}, "nameservers", "ada"),
        ({"zone": SeenZone("z", "acme.example", "active", True, "a", "", ())}, "zone", "paused"),
        ({"routes": []}, "address", "no route and no custom domain"),
        ({"routes": [Route(id="r", pattern="*.acme.example/*")]}, "address", "no route"),
        ({"records": []}, "address", "no DNS record"),
        ({"records": [RECORD.model_copy(update={"proxied": False})]}, "address", "not proxied"),
        ({"packs": []}, "certificate", "no certificate covers"),
        ({"packs": [PACK.model_copy(update={"status": "pending_validation"})]}, "certificate", "pending_validation"),
        ({"answer": 530}, "Worker", "answered 530"),
        ({"answer": "no answer within 10 s"}, "Worker", "no answer"),
        ({"zone": None}, "zone", "sees no zone"),
    ],
)
def test_each_fault_is_named_where_it_is(changes, about, what):
    """And it has a remedy."""
    found = bad(**changes)

    assert any(where == about and what in said for where, said in found), found


def test_a_custom_domain_needs_no_record_and_no_route():
    """Cloudflare made both."""
    domain = Domain(id="d", hostname="api.acme.example", service="api")

    assert bad(routes=[], records=[], domains=[domain]) == []


def test_what_could_not_be_asked_is_a_note():
    """Every fact open: nothing is bad, and the permission is named."""
    unknown = Unknown("needs DNS: Read")
    facts = Facts("api.acme.example", ZONE, unknown, unknown, unknown, unknown, None)

    checks = list(judge(facts))

    assert {check.standing for check in checks} == {Standing.GOOD, Standing.NOTE}
    assert sum("DNS: Read" in check.what for check in checks) == 2


def test_wildcards_of_certificates_stand_for_one_label():
    """As browsers see it."""
    assert covers("*.acme.example", "api.acme.example")
    assert not covers("*.acme.example", "acme.example")
    assert not covers("*.acme.example", "a.b.acme.example")


def test_a_worker_that_does_not_answer_is_a_clause_not_a_crash():
    """Refused and timed out."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused") if "one" in request.url.host else httpx.ReadTimeout("slow")

    ask = asker(None, transport=httpx.MockTransport(refuse))

    assert ask("one.example") == "no connection (ConnectError)"
    assert ask("two.example") == "no answer within 10 s"
